{{/* Names and labels, and one process of a centre as a StatefulSet: (dict "root" $ "part" NAME "args" LIST "wall" BOOL). */}}
{{- define "icctwin.labels" -}}
app.kubernetes.io/name: icctwin
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "icctwin.shut" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
volumeMounts:
  - {name: files, mountPath: /etc/icctwin, readOnly: true}
  - {name: kept, mountPath: /var/lib/icctwin}
  {{- if .Values.secretName }}
  - {name: secrets, mountPath: /run/secrets, readOnly: true}
  {{- end }}
{{- end }}

{{- define "icctwin.process" -}}
{{- $root := .root -}}
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: {{ $root.Release.Name }}-{{ .part }}
  labels:
    {{- include "icctwin.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .part }}
    app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
    app.kubernetes.io/managed-by: {{ $root.Release.Service }}
spec:
  serviceName: {{ $root.Release.Name }}
  replicas: 1
  selector:
    matchLabels:
      {{- include "icctwin.labels" $root | nindent 6 }}
      app.kubernetes.io/component: {{ .part }}
  template:
    metadata:
      labels:
        {{- include "icctwin.labels" $root | nindent 8 }}
        app.kubernetes.io/component: {{ .part }}
        icctwin/wall: {{ .wall | quote }}
      annotations:
        checksum/files: {{ $root.Values.files | toJson | sha256sum }}
    spec:
      automountServiceAccountToken: false
      terminationGracePeriodSeconds: 60
      securityContext:
        runAsNonRoot: true
        runAsUser: 10001
        runAsGroup: 10001
        fsGroup: 10001
        fsGroupChangePolicy: OnRootMismatch
        seccompProfile: {type: RuntimeDefault}
      {{- with $root.Values.nodeSelector }}
      nodeSelector: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $root.Values.tolerations }}
      tolerations: {{- toYaml . | nindent 8 }}
      {{- end }}
      containers:
        - name: icctwin
          image: "{{ $root.Values.image.repository }}:{{ $root.Values.image.tag | default $root.Chart.AppVersion }}"
          imagePullPolicy: {{ $root.Values.image.pullPolicy }}
          args: {{- toYaml .args | nindent 12 }}
          {{- include "icctwin.shut" $root | nindent 10 }}
          {{- if .wall }}
          # asked where [wall] has it, with its certificate; ready as long as it answers: what the field does is on the wall
          ports:
            - {name: wall, containerPort: {{ $root.Values.wallPort }}}
          startupProbe:
            exec: {command: &alive [icctwin, alive, --config, /etc/icctwin/site.toml]}
            periodSeconds: 5
            timeoutSeconds: 5
            failureThreshold: 60
          livenessProbe:
            exec: {command: *alive}
            periodSeconds: 30
            timeoutSeconds: 5
          readinessProbe:
            exec: {command: *alive}
            periodSeconds: 30
            timeoutSeconds: 5
          {{- end }}
          resources: {{- toYaml $root.Values.resources | nindent 12 }}
        {{- if .wall }}
        # it lets go of everything when the process beside it has stopped saying that it lives
        - name: watchdog
          image: "{{ $root.Values.image.repository }}:{{ $root.Values.image.tag | default $root.Chart.AppVersion }}"
          imagePullPolicy: {{ $root.Values.image.pullPolicy }}
          args: [watchdog, --config, /etc/icctwin/site.toml]
          {{- include "icctwin.shut" $root | nindent 10 }}
          resources: {requests: {cpu: 20m, memory: 200Mi}, limits: {memory: 512Mi}}
        {{- if $root.Values.backup.keep }}
        - name: backup
          image: "{{ $root.Values.image.repository }}:{{ $root.Values.image.tag | default $root.Chart.AppVersion }}"
          imagePullPolicy: {{ $root.Values.image.pullPolicy }}
          command: [/bin/sh, -c]
          args:
            - |
              cd /var/lib/icctwin && mkdir -p backups
              trap 'exit 0' TERM INT
              while :; do
                if [ -z "$(find backups -name 'backup-*.tar.zst' -mmin -1440)" ]; then
                  icctwin backup --config /etc/icctwin/site.toml --out "backups/backup-$(date -u +%F-%H%M%S).tar.zst" &
                  wait $!
                  ls -1t backups/backup-*.tar.zst | tail -n +{{ add $root.Values.backup.keep 1 }} | xargs -r rm -f --
                fi
                sleep 600 &
                wait $!
              done
          {{- include "icctwin.shut" $root | nindent 10 }}
          resources: {requests: {cpu: 20m, memory: 100Mi}, limits: {memory: 1Gi}}
        {{- end }}
        {{- end }}
      volumes:
        - name: files
          configMap: {name: {{ $root.Values.existingConfigMap | default (printf "%s-files" $root.Release.Name) }}}
        {{- if $root.Values.secretName }}
        - name: secrets
          secret: {secretName: {{ $root.Values.secretName }}, defaultMode: 0440}
        {{- end }}
  volumeClaimTemplates:
    - metadata: {name: kept}
      spec:
        accessModes: [ReadWriteOnce]
        {{- with $root.Values.persistence.storageClassName }}
        storageClassName: {{ . }}
        {{- end }}
        resources: {requests: {storage: {{ $root.Values.persistence.size }}}}
{{- end }}
