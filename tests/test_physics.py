"""Every function of ``twin/physics``: published worked examples, vector = scalar, limits. A new file joins by its examples."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import twin.physics
from twin.params import FRONTIER_NODE, NodeParams, Params, PlantParams
from twin.physics import (
    battery,
    cdu,
    chain,
    chiller,
    coldplate,
    coolant,
    crah,
    drycooler,
    hydraulics,
    node,
    plant,
    pump,
    sun,
    tower,
    water,
)

MODULES = [importlib.import_module(f"twin.physics.{m.name}") for m in pkgutil.iter_modules(twin.physics.__path__)]
PLANT = PlantParams()
SIZE = plant.PlantSize(10e6, towers=True, chillers=3, chiller_w=4e6)

# (function, arguments, expected, relative tolerance, where the numbers were published)
EXAMPLES: list[tuple[Callable[..., Any], dict[str, Any], float, float, str]] = [
    (node.utilised_power_w, {"util_frac": 0.5, "idle_w": 88.0, "full_w": 560.0}, 324.0, 1e-12, "RAPS, Frontier GPU"),
    (node.supplied_power_w, {"load_w": 626.26, "constant_w": 13.0, "efficiency_frac": 0.98}, 652.306, 1e-6, "RAPS, SIVOC"),
    (
        node.delivered_power_w,
        {"supplied_w": 652.306, "constant_w": 13.0, "efficiency_frac": 0.98},
        626.26,
        1e-6,
        "RAPS, inverse",
    ),
    (
        chain.loss_w,
        {"out_w": 5e5, "rated_w": 1e6, "no_load_frac": 0.015, "linear_frac": 0.01, "square_frac": 0.01},
        22_500.0,
        1e-12,
        "by hand: 1 MW · (0.015 + 0.005 + 0.0025); 95.7 % at half load",
    ),
    (coolant.water_density_kgpm3, {"temp_c": 25.0}, 997.048, 5e-6, "IAPWS-95"),
    (coolant.water_heat_jpkgk, {"temp_c": 35.0}, 4179.26, 4e-4, "IAPWS-95"),
    (coolant.pg25_density_kgpm3, {"temp_c": 35.0}, 1012.48, 1e-4, "CoolProp, MPG 25 %"),
    (coolant.pg25_heat_jpkgk, {"temp_c": 35.0}, 3956.7, 1e-4, "CoolProp, MPG 25 %"),
    # between the rows of the table, where only its interpolation is at fault
    (coolant.propylene_density_kgpm3, {"temp_c": 35.0, "share_frac": 0.35}, 1019.87, 5e-4, "CoolProp, MPG 35 %"),
    (coolant.propylene_heat_jpkgk, {"temp_c": 35.0, "share_frac": 0.35}, 3829.7, 1.2e-3, "CoolProp, MPG 35 %"),
    (coolant.ethylene_density_kgpm3, {"temp_c": 65.0, "share_frac": 0.45}, 1031.52, 5e-4, "CoolProp, MEG 45 %"),
    (coolant.ethylene_heat_jpkgk, {"temp_c": 65.0, "share_frac": 0.45}, 3606.0, 1.2e-3, "CoolProp, MEG 45 %"),
    (
        cdu.carried_heat_w,
        {"flow_kgps": 1.316, "heat_jpkgk": 4180.0, "rise_k": 20.0},
        110e3,
        1e-3,
        "GB300 NVL72: 110 kW at 20 K",
    ),
    (cdu.effectiveness_frac, {"ntu": 5.0, "capacity_ratio": 0.7}, 0.9206703686, 1e-9, "ht, counterflow"),
    (
        cdu.exchanged_heat_w,
        {"hot_c": 45.0, "cold_c": 30.0, "hot_wpk": 3.0 * 3957, "cold_wpk": 3.3 * 4180, "conductance_wpk": 40e3},
        144_473.7,
        1e-6,
        "ht, counterflow: NTU 3.369556, effectiveness 0.811354",
    ),
    (cdu.needed_cold_c, {"supply_c": 30.0, "rise_k": 10.0, "ntu": 5.0}, 28.0, 1e-12, "by hand: rise / NTU below"),
    (pump.affine_power_w, {"speed_frac": 0.8, "rated_w": 1.0}, 0.512, 1e-12, "affinity laws"),
    (
        tower.approach_k,
        {"wet_bulb_c": 25.55, "range_k": 5.5556, "liquid_gas_ratio": 1.0},
        3.8421,
        1e-4,
        "YorkCalc, design point",
    ),
    (tower.air_frac, {"wanted_approach_k": 3.8421, "wet_bulb_c": 25.55, "range_k": 5.5556}, 1.0, 1e-4, "YorkCalc, inverse"),
    (
        tower.liquid_gas_ratio,
        {"wanted_approach_k": 3.8421, "wet_bulb_c": 25.55, "range_k": 5.5556},
        1.0,
        1e-4,
        "YorkCalc, inverse",
    ),
    (tower.fan_power_w, {"air_share_frac": 0.5, "rated_w": 1.0, "exponent": 3.0}, 0.125, 1e-12, "the pure cube"),
    (
        drycooler.air_frac,
        {"leaving_c": 30.0, "dry_bulb_c": 18.0, "range_k": 10.0, "design_approach_k": 6.0},
        16 / 22,
        1e-12,
        "by hand",
    ),
    (
        drycooler.air_frac,
        {"leaving_c": 20.0, "dry_bulb_c": 35.0, "range_k": 10.0, "design_approach_k": 6.0},
        1.0,
        1e-12,
        "by hand: air that is warmer than the water that comes back",
    ),
    (
        drycooler.approach_k,
        {"air_share_frac": 16 / 22, "range_k": 10.0, "design_approach_k": 6.0},
        12.0,
        1e-12,
        "by hand: the inverse of air_frac",
    ),
    (chiller.cop_ratio, {"leaving_c": 6.7, "condenser_c": 35.0, "carnot_frac": 0.63}, 6.28, 0.01, "ASHRAE 90.1: 0.56 kW/ton"),
    (chiller.part_load_frac, {"load_frac": 1.0}, 0.99706738, 1e-9, "COMNET / DOE-2, sum of the coefficients"),
    (chiller.bank_power_w, {"heat_w": 5e6, "unit_w": 4e6, "units": 3, "cop": 6.0}, 842_457.0, 1e-5, "by hand: two at 0.625"),
    (chiller.bank_power_w, {"heat_w": 5e5, "unit_w": 1e6, "units": 4, "cop": 5.0}, 104_987.39, 1e-6, "by hand: one at 0.5"),
    (chiller.bank_power_w, {"heat_w": 3e6, "unit_w": 1e6, "units": 3, "cop": 6.0}, 498_534.0, 1e-5, "by hand: three at 1"),
    (chiller.bank_power_w, {"heat_w": 3e6, "unit_w": 1e6, "units": 4, "cop": 6.0}, 497_444.0, 1e-5, "by hand: four at 0.75"),
    (chiller.cop_ratio, {"leaving_c": 18.0, "condenser_c": 20.0, "carnot_frac": 0.5}, 29.115, 1e-9, "by hand: held at 5 K"),
    (hydraulics.opening_frac, {"position_frac": 0.5, "rangeability_ratio": 50.0}, 0.141421, 1e-5, "equal percentage: 50^-0.5"),
    (hydraulics.opening_frac, {"position_frac": 0.005, "rangeability_ratio": 50.0}, 0.0103989, 1e-5, "seat: 50^-0.99 / 2"),
    (
        hydraulics.pressure_drop_pa,
        {"flow_kgps": 2.0, "design_kgps": 4.0, "design_pa": 80e3, "opening_share_frac": 0.25},
        320e3,
        1e-12,
        "by hand: half the flow through a quarter of the opening",
    ),
    (
        hydraulics.pump_head_pa,
        {"flow_kgps": 8.0, "speed_frac": 0.8, "design_kgps": 10.0, "design_pa": 2e5, "shutoff_ratio": 1.25},
        0.64 * 2e5,
        1e-12,
        "affinity: at 80 % speed and flow the head is 0.64 of design",
    ),
    (
        crah.coil_heat_w,
        {"air_c": 35.0, "water_c": 15.0, "air_frac": 0.5, "design_wpk": 5e3},
        50e3,
        1e-12,
        "by hand: ε-NTU with fixed ε",
    ),
    (
        crah.needed_air_frac,
        {"heat_w": 50e3, "air_c": 35.0, "water_c": 15.0, "design_wpk": 5e3},
        0.5,
        1e-12,
        "the inverse of coil_heat_w",
    ),
    (
        crah.needed_air_frac,
        {"heat_w": 60e3, "air_c": 35.0, "water_c": 20.0, "design_wpk": 2e3},
        1.0,
        0.0,
        "by hand: twice what all its air carries",
    ),
    (water.evaporated_kgps, {"heat_w": 1e3}, 1.481 / 3600, 2e-4, "1.481 L per kWh of heat"),
    (water.makeup_kgps, {"evaporation_kgps": 1.481, "cycles_ratio": 5.0}, 1.852, 5e-4, "CoC 5: 1.852 L/kWh"),
    (
        water.pad_kgps,
        {"air_kgps": 10.0, "dry_bulb_c": 35.0, "entering_c": 25.0},
        0.04138,
        1e-3,
        "ASHRAE: 10 kg/s cooled by 10 K",
    ),
    (
        coldplate.junction_c,
        {"coolant_c": 40.0, "chip_w": 1000.0, "plate_wpk": 50.0, "flow_frac": 1.0, "exponent": 1 / 3},
        60.0,
        1e-12,
        "0.02 K/W: 20 K over the coolant at 1 kW",
    ),
    (
        coldplate.junction_c,
        {"coolant_c": 40.0, "chip_w": 1000.0, "plate_wpk": 50.0, "flow_frac": 0.125, "exponent": 1 / 3},
        70.0,
        1e-12,
        "by hand: at an eighth of the flow the film, half of 0.02 K/W, is twice what it was",
    ),
    (
        coldplate.junction_c,
        {"coolant_c": 40.0, "chip_w": 1000.0, "plate_wpk": 50.0, "flow_frac": 0.0, "exponent": 1 / 3},
        77.1442,
        1e-6,
        "by hand: standing water as a twentieth of design, 40 °C + 20 K · (0.5 + 0.5 · 20^(1/3))",
    ),
    (
        coldplate.seconds_to_limit_s,
        {"temp_c": 38.0, "limit_c": 50.0, "heat_w": 110e3, "stored_jpk": 435e3},
        47.4545,
        1e-5,
        "by hand: 435 kJ/K · 12 K / 110 kW",
    ),
    (
        battery.autonomy_s,
        {"load_w": 5e5, "rated_w": 1e6, "rated_s": 300.0, "exponent": 1.05},
        621.158,
        1e-5,
        "Peukert: 300 s · 2^1.05",
    ),
    (
        drycooler.entering_c,
        {"dry_bulb_c": 35.0, "wet_bulb_c": 23.93, "pad_frac": 0.8, "assisted_frac": 1.0},
        26.144,
        1e-6,
        "35 °C at 40 %: depression 11.07 K, pads of 80 %",
    ),
    (
        drycooler.leaving_c,
        {"return_c": 45.0, "entering_air_c": 29.0, "range_k": 10.0, "design_approach_k": 6.0},
        35.0,
        1e-12,
        "design: range 10 K, approach 6 K",
    ),
    (
        node.clocked_power_w,
        {"power_w": 560.0, "idle_w": 88.0, "clock_frac": 0.8, "exponent": 3.0},
        329.664,
        1e-6,
        "C·V²·f: 88 + 472 · 0.512",
    ),
    (node.capped_power_w, {"power_w": 560.0, "cap_w": 400.0}, 400.0, 1e-12, "NVML power limit"),
    (
        node.throttled_rate_frac,
        {"power_w": 244.12, "wanted_w": 345.65, "exponent": 0.29},
        0.904,
        2e-3,
        "Emerald AI, ft_llama_8b_dolly at a cap of 250 W",
    ),
    (
        node.leaking_power_w,
        {"power_w": 1e5, "temp_c": 50.0, "reference_c": 40.0, "leakage_per_k": 0.001},
        101e3,
        1e-12,
        "by hand",
    ),
]
GOLDEN = [pytest.param(*e[:4], id=f"{e[0].__module__.rsplit('.', 1)[1]}.{e[0].__name__}") for e in EXAMPLES]


def public_functions() -> Iterator[Callable[..., Any]]:
    for module in MODULES:
        for name, value in vars(module).items():
            if inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_"):
                yield value


def test_every_function_has_a_worked_example() -> None:
    """But for the sun's, whose published examples (NREL's SPA, PVWatts) need pvlib: ``test_onsite``."""
    functions = {one for one in public_functions() if one.__module__ != sun.__name__}
    assert len(functions) > 15
    assert len(MODULES) == len([p for p in Path(*twin.physics.__path__).glob("*.py") if p.stem != "__init__"])
    assert functions - {e[0] for e in EXAMPLES} == {plant.plant_power}, (
        "add a published example (plant_power has tests of its own)"
    )


@pytest.mark.parametrize(("function", "arguments", "expected", "tolerance"), GOLDEN)
def test_worked_example(function: Callable[..., Any], arguments: dict[str, Any], expected: float, tolerance: float) -> None:
    assert float(function(**arguments)) == pytest.approx(expected, rel=tolerance)


@pytest.mark.parametrize(("function", "arguments", "expected", "tolerance"), GOLDEN)
def test_vector_equals_scalar_and_nan_stays_nan(
    function: Callable[..., Any], arguments: dict[str, Any], expected: float, tolerance: float
) -> None:
    for name in arguments:
        column = np.array([arguments[name], arguments[name] * 0.9])
        one_by_one = [float(function(**{**arguments, name: float(value)})) for value in column]
        np.testing.assert_allclose(function(**{**arguments, name: column}), one_by_one, rtol=1e-12)
    first = next(iter(arguments))
    assert np.isnan(function(**{**arguments, first: float("nan")})), f"{first} unknown must make the answer unknown"


@pytest.mark.parametrize(("util", "before", "converted", "rectified"), [
    (0.0, 626.26, 652.306, 683.913), (0.5, 1665.26, 1712.510, 1788.292), (1.0, 2704.26, 2772.714, 2892.671),
])  # fmt: skip
def test_frontier_node_chain(util: float, before: float, converted: float, rectified: float) -> None:
    """ExaDigiT/RAPS, Frontier: four GPUs and one CPU behind two conversion stages."""
    p: NodeParams = FRONTIER_NODE
    gpu = node.utilised_power_w(util, p.gpu_w * p.gpu_idle_frac, p.gpu_w)
    load = 4 * gpu + node.utilised_power_w(util, p.cpu_idle_w, p.cpu_full_w) + p.memory_w + 4 * p.nic_w + p.storage_w
    assert float(load) == pytest.approx(before, abs=1e-9)
    for stage, expected in zip(p.stages, (converted, rectified), strict=True):
        load = node.supplied_power_w(load, stage.constant_w, stage.efficiency_frac)
        assert float(load) == pytest.approx(expected, abs=1e-3)


def test_temperature_rise_at_the_ocp_flow() -> None:
    """1.5 L/min per kW: ΔT 9.595/9.629/9.646/9.664 K for water at 25/35/40/45 °C, 9.985 K for PG25 at 35 °C."""
    water_c = np.array([25.0, 35.0, 40.0, 45.0])
    flow_kgps = 1.5e-3 / 60 * coolant.water_density_kgpm3(water_c)
    rise_k = 1000 / (flow_kgps * coolant.water_heat_jpkgk(water_c))
    np.testing.assert_allclose(rise_k, [9.595, 9.629, 9.646, 9.664], rtol=5e-4)
    assert 1000 / (1.5e-3 / 60 * coolant.pg25_density_kgpm3(35.0) * coolant.pg25_heat_jpkgk(35.0)) == pytest.approx(
        9.985, rel=2e-4
    )


def test_yorkcalc_table() -> None:
    """Range 5.5556 K, liquid-to-gas ratio 0.75/1/1.25, at wet bulbs of 0, 10 and 20 °C (Modelica Buildings, YorkCalc)."""
    table = tower.approach_k(np.array([[0.0], [10.0], [20.0]]), 5.5556, np.array([0.75, 1.0, 1.25]))
    np.testing.assert_allclose(table, [[8.601, 11.154, 13.622], [5.701, 7.766, 9.771], [3.526, 5.055, 6.559]], atol=5e-4)


@given(wet=st.floats(-20, 29), span=st.floats(2, 14), ratio=st.floats(1, 4))
def test_air_frac_is_the_inverse_of_approach(wet: float, span: float, ratio: float) -> None:
    assert float(tower.air_frac(tower.approach_k(wet, span, ratio), wet, span)) == pytest.approx(1 / ratio, rel=1e-6)


def test_fan_at_half_air_is_under_the_ashrae_ceiling() -> None:
    share = float(tower.fan_power_w(0.5, 1.0, PLANT.fan_exponent))
    assert 0.125 <= share <= 0.30


@given(ntu=st.floats(0.01, 20), ratio=st.floats(0, 1))
def test_effectiveness_is_a_share_and_is_continuous_at_equal_flows(ntu: float, ratio: float) -> None:
    assert 0 < cdu.effectiveness_frac(ntu, ratio) <= 1
    assert float(cdu.effectiveness_frac(ntu, 1.0)) == pytest.approx(float(cdu.effectiveness_frac(ntu, 1 - 1e-8)), rel=1e-5)


@given(
    hot=st.floats(20, 90), cold=st.floats(-5, 60),
    c_hot=st.floats(1e3, 1e6), c_cold=st.floats(1e3, 1e6), ua=st.floats(1e2, 1e6),
)  # fmt: skip
def test_heat_exchange_never_crosses_temperatures(hot: float, cold: float, c_hot: float, c_cold: float, ua: float) -> None:
    """Second law: each outlet lies between the inlets, and heat runs from hot to cold."""
    q = float(cdu.exchanged_heat_w(hot, cold, c_hot, c_cold, ua))
    low, high = min(hot, cold) - 1e-9, max(hot, cold) + 1e-9
    assert low <= hot - q / c_hot <= high
    assert low <= cold + q / c_cold <= high
    assert q * (hot - cold) >= 0


heats, supplies, wet_bulbs, banks = st.floats(1e5, 11e6), st.floats(12, 45), st.floats(-15, 29), st.sampled_from([0, 3, 4, 24])


@given(heats, supplies, wet_bulbs, st.booleans(), banks, st.floats(0, 3e6), st.floats(0, 10), st.floats(0, 10))
def test_plant_power_goes_the_right_way(
    heat: float, supply: float, outdoor: float, towers: bool, chillers: int, more: float, warmer: float, drier: float
) -> None:
    """Never less power for more heat or warmer air, never more for a warmer supply; no chiller, no chiller power."""
    size = plant.PlantSize(10e6, towers, chillers, 12e6 / max(chillers, 1))
    here = plant.plant_power(heat, supply, outdoor, size, PLANT)
    slack = 1e-9 * float(here.total_w)
    assert plant.plant_power(heat + more, supply, outdoor, size, PLANT).total_w >= here.total_w - slack
    assert plant.plant_power(heat, supply, min(outdoor + warmer, 29.0), size, PLANT).total_w >= here.total_w - slack
    assert plant.plant_power(heat, supply + drier, outdoor, size, PLANT).total_w <= here.total_w + slack
    assert min(here.pumps_w, here.fans_w, here.chillers_w) >= 0
    assert 0 <= here.chiller_share_frac <= 1
    assert chillers or here.chillers_w == 0
    assert chillers == 0 or here.short_k == 0
    sweep = plant.plant_power(np.arange(1e5, 12e6, 1e4), supply, outdoor, size, PLANT).total_w
    assert np.diff(sweep).min() >= -1e-9 * sweep.max()


def test_plant_vector_equals_scalar_and_knows_its_regimes() -> None:
    wet = np.array([5.0, 15.0, 24.0, 29.0])
    together = plant.plant_power(8e6, 20.0, wet, SIZE, PLANT)
    for i, w in enumerate(wet):
        np.testing.assert_allclose([part[i] for part in together], plant.plant_power(8e6, 20.0, w, SIZE, PLANT), rtol=1e-12)
    assert together.chiller_share_frac[0] < 0.2
    assert together.chiller_share_frac[-1] == 1
    assert plant.plant_power(8e6, 40.0, 20.0, SIZE, PLANT).chillers_w == 0, "warm water needs no chiller"


@given(heats, supplies, wet_bulbs, st.booleans(), st.sampled_from([0, 3]), st.floats(0.2, 1.0), st.floats(0.2, 1.0))
def test_a_limit_of_fans_spares_fans_and_costs_chillers(
    heat: float, supply: float, outdoor: float, towers: bool, chillers: int, one: float, other: float
) -> None:
    """Less air is never less work for compressors nor colder water, and where it is not asked for it changes nothing."""
    size, (low, high) = plant.PlantSize(10e6, towers, chillers, 4e6), sorted((one, other))
    slow, fast = (plant.plant_power(heat, supply, outdoor, size, PLANT, most) for most in (low, high))
    assert slow.chillers_w >= fast.chillers_w
    assert slow.chiller_share_frac >= fast.chiller_share_frac
    assert slow.short_k >= fast.short_k
    most_frac = (PLANT.tower_fan_frac if towers else PLANT.dry_fan_frac) * low**PLANT.fan_exponent  # over heat
    assert slow.fans_w <= (heat + slow.chillers_w) * most_frac * (1 + 1e-12)
    idle = plant.plant_power(heat, 60.0, outdoor, size, PLANT)
    if not idle.chillers_w and idle.fans_w < heat * most_frac * (1 - 1e-9):
        np.testing.assert_array_equal(plant.plant_power(heat, 60.0, outdoor, size, PLANT, low), idle)


def test_plant_without_chillers_is_near_frontier() -> None:
    """Frontier 2023 (warm water, towers): accessory power 0.5-1.1 MW at 8-29 MW of IT, PUE 1.03-1.10, with its CDU pumps."""
    frontier = plant.PlantSize(29e6, towers=True, chillers=0, chiller_w=0.0)
    for it_w, wet in ((8e6, 0.0), (15e6, 10.0), (20e6, 20.0)):
        accessory_w = float(plant.plant_power(it_w, 25.0, wet, frontier, PLANT).total_w) + it_w * Params().plant.cdu_pump_frac
        assert 0.015 <= accessory_w / it_w <= 0.10
