{{/* Names and labels, and one process of a centre as a StatefulSet: (dict "root" $ "part" NAME "args" LIST "wall" BOOL). */}}
{{- define "icctwin.labels" -}}
app.kubernetes.io/name: icctwin
app.kubernetes.io/instance: {{ .Release.Name }}
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
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: {drop: [ALL]}
          {{- if .wall }}
          ports:
            - {name: wall, containerPort: 8050}
          startupProbe:
            httpGet: {path: /healthz, port: wall}
            periodSeconds: 5
            failureThreshold: 60
          livenessProbe:
            httpGet: {path: /healthz, port: wall}
            periodSeconds: 15
            timeoutSeconds: 5
          readinessProbe:
            httpGet: {path: /readyz, port: wall}
            periodSeconds: 15
            timeoutSeconds: 5
          {{- end }}
          resources: {{- toYaml $root.Values.resources | nindent 12 }}
          volumeMounts:
            - {name: files, mountPath: /etc/icctwin, readOnly: true}
            - {name: kept, mountPath: /var/lib/icctwin}
            {{- if $root.Values.secretName }}
            - {name: secrets, mountPath: /run/secrets, readOnly: true}
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
