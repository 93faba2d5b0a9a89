"""A prometheus.yml as it stands becomes sources, and what does not is said."""

import tomllib
from pathlib import Path

import pytest

from ingest.scrape_configs import read_scrape_configs
from twin.errors import ConfigError
from ui.cli import main
from ui.config import load_config

YAML = """
global: {scrape_interval: 1m30s, scrape_timeout: 10s, external_labels: {dc: x}}
rule_files: [a.yml]
scrape_configs:
  - job_name: dcgm
    scrape_interval: 1s
    scheme: https
    sample_limit: 5000
    body_size_limit: 10MB
    tls_config: {ca_file: ca.pem, cert_file: me.pem, key_file: me.key}
    authorization: {credentials_file: /etc/token}
    static_configs:
      - targets: [gpu-a01:9400, gpu-a02:9400]
      - {targets: [10.0.0.9:9400], labels: {node: gpu-a03}}
  - job_name: node
    basic_auth: {username: prom, password: hunter2}
    file_sd_configs: [{files: [targets/*.json], refresh_interval: 5m}]
    http_sd_configs: [{url: "http://sd/targets"}]
  - job_name: ipmi
    metrics_path: /ipmi
    params: {module: [default]}
    static_configs: [{targets: [10.0.0.1]}]
    relabel_configs:
      - {source_labels: [__address__], target_label: __param_target}
      - {source_labels: [__param_target], target_label: instance}
      - {target_label: __address__, replacement: "ipmi:9290"}
  - job_name: pods
    kubernetes_sd_configs: [{role: pod}]
    tls_config: {insecure_skip_verify: true}
"""


def test_a_prometheus_configuration_becomes_sources_and_what_does_not_is_said(tmp_path):
    path = tmp_path / "prometheus.yml"
    path.write_text(YAML)
    found = read_scrape_configs(path)
    one, two, files, server, bmc = found.sources
    assert one == {
        "name": "dcgm-1",
        "type": "prometheus",
        "every_s": 1,
        "timeout_s": 10,
        "scheme": "https",
        "max_samples": 5000,
        "max_body_bytes": 10 * 2**20,
        "ca_file": str(tmp_path / "ca.pem"),
        "cert_file": str(tmp_path / "me.pem"),
        "key_file": str(tmp_path / "me.key"),
        "bearer_token_file": "/etc/token",
        "targets": ["gpu-a01:9400", "gpu-a02:9400"],
    }
    assert (two["targets"], two["labels"]) == (["10.0.0.9:9400"], {"node": "gpu-a03"})
    assert (files["file_sd"], files["refresh_s"], files["every_s"]) == ([str(tmp_path / "targets/*.json")], 300, 90)
    assert server["http_sd"] == ["http://sd/targets"]
    assert "username" not in files, "without its password a name opens nothing"
    assert (bmc["through"], bmc["metrics_path"], bmc["params"]) == ("ipmi:9290", "/ipmi", {"module": "default"})
    said = "\n".join(map(str, found.left_out))
    for word in ("node: a secret stands in the file", "pods: kubernetes_sd_configs", "insecure_skip_verify", "pods: no target"):
        assert word in said
    assert "hunter2" not in said


def test_the_command_adds_the_sources_to_a_configuration_that_loads(tmp_path, capsys):
    (tmp_path / "prometheus.yml").write_text(YAML)
    (tmp_path / "assets.csv").write_text("id,kind,parent\nhall,hall,\n")
    config = tmp_path / "site.toml"
    config.write_text('[site]\nname = "a"  # my comment\n')
    assert main(["import", str(tmp_path / "prometheus.yml"), "--out", str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert "sources added: 5, to" in said.out
    assert "left out: " in said.err
    assert "# my comment" in config.read_text()
    loaded = load_config(config)
    assert [source.name for source in loaded.sources] == ["dcgm-1", "dcgm-2", "node-1", "node-2", "ipmi"]
    assert main(["import", str(tmp_path / "prometheus.yml"), "--out", str(tmp_path)]) == 2, "the names are taken now"
    assert "already" in capsys.readouterr().err


@pytest.mark.parametrize(("node", "placed"), [("here", ["here"]), ("gone", [None])])
def test_a_target_on_this_machine_is_placed_only_at_a_node_that_the_site_has(node, placed, tmp_path):
    """The assets were written anew, and the machine's own source still stands in the configuration."""
    scraped = "scrape_configs:\n- job_name: n\n  static_configs: [{targets: ['127.0.0.1:9100']}]\n"
    (tmp_path / "prometheus.yml").write_text(scraped)
    (tmp_path / "assets.csv").write_text("id,kind,parent\nhall,hall,\nrack,rack,hall\nhere,node,rack\n")
    config = tmp_path / "site.toml"
    config.write_text(f'[site]\nname = "a"\n[[source]]\nname = "m"\ntype = "host"\nnode = "{node}"\n')
    assert main(["import", str(tmp_path / "prometheus.yml"), "--out", str(tmp_path)]) == 0
    assert [one.get("node") for one in tomllib.loads(config.read_text())["source"][1:]] == placed


def test_without_a_folder_the_sources_are_printed_as_toml(tmp_path, capsys):
    (tmp_path / "prometheus.yml").write_text(YAML)
    assert main(["import", str(tmp_path / "prometheus.yml")]) == 0
    assert len(tomllib.loads(capsys.readouterr().out)["source"]) == 5


@pytest.mark.parametrize("text", ["scrape_configs: 5", "a: [", "- 1", ""])
def test_what_is_no_configuration_of_a_prometheus_is_refused(tmp_path, text):
    path = Path(tmp_path / "prometheus.yml")
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"scrape_configs|YAML"):
        read_scrape_configs(path)


def test_targets_on_this_machine_are_of_its_node(tmp_path):
    (tmp_path / "p.yml").write_text(
        'scrape_configs: [{job_name: here, static_configs: [{targets: ["localhost:9400"]}]},'
        ' {job_name: there, static_configs: [{targets: ["127.0.0.1:9100", "10.0.0.7:9100"]}]}]'
    )
    assert main(["init", str(tmp_path / "mine")]) == 0
    assert main(["import", str(tmp_path / "p.yml"), "--out", str(tmp_path / "mine")]) == 0
    read = load_config(tmp_path / "mine" / "site.toml")
    own, here, there = read.sources
    assert here.options.node == own.options.node != ""
    assert there.options.node == ""
