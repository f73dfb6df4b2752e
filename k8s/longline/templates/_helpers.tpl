{{- /* Names, labels, and what the pods of all roles have in common. */ -}}

{{- define "longline.name" -}}
{{- if contains "longline" .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-longline" .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- /* What a selector has. Takes a dict of the root and a role. */ -}}
{{- define "longline.selector" -}}
app.kubernetes.io/name: longline
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .role }}
{{- end -}}

{{- define "longline.labels" -}}
{{ include "longline.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "longline.meta" -}}
name: {{ include "longline.name" .root }}-{{ .role }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "longline.labels" . | nindent 2 }}
{{- end -}}

{{- define "longline.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* The secret that the URL of Redis is in, and its key. */ -}}
{{- define "longline.redisSecret" -}}
{{- .Values.redis.existingSecret.name | default (printf "%s-redis" (include "longline.name" .)) -}}
{{- end -}}
{{- define "longline.redisKey" -}}
{{- if .Values.redis.existingSecret.name -}}{{ .Values.redis.existingSecret.key }}{{- else -}}url{{- end -}}
{{- end -}}

{{- /* Where a pod may run. Takes a dict of the root and a role. */ -}}
{{- define "longline.placement" -}}
{{- $own := index .root.Values .role -}}
affinity:
  nodeAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      nodeSelectorTerms:
        - matchExpressions:
            - key: kubernetes.io/os
              operator: In
              values: [linux]
            - key: kubernetes.io/arch
              operator: In
              values: {{ toJson .root.Values.image.architectures }}
topologySpreadConstraints:
  {{- with $own.topologySpreadConstraints }}
  {{- toYaml . | nindent 2 }}
  {{- else }}
  {{- $selector := include "longline.selector" . }}
  {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- $selector | nindent 8 }}
  {{- end }}
  {{- end }}
{{- with $own.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $own.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $own.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{- /* The part of a pod's spec that nobody who breaks in can do much with. */ -}}
{{- define "longline.pod" -}}
serviceAccountName: {{ include "longline.name" .root }}
automountServiceAccountToken: false
# Else the services of this release would be LONGLINE_… variables, and no settings of ours.
enableServiceLinks: false
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile:
    type: RuntimeDefault
{{- end -}}

{{- define "longline.container" -}}
image: {{ include "longline.image" .root }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
# What a role says before it ends, such as a setting that is wrong, is in the pod's status.
terminationMessagePolicy: FallbackToLogsOnError
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end -}}

{{- /* Settings that all roles have. */ -}}
{{- define "longline.env" -}}
{{- $root := .root -}}
- name: LONGLINE_REDIS_URL
  valueFrom:
    secretKeyRef:
      name: {{ include "longline.redisSecret" $root }}
      key: {{ include "longline.redisKey" $root }}
{{- with $root.Values.redis.sentinelMaster }}
- name: LONGLINE_REDIS_SENTINEL_MASTER
  value: {{ . }}
{{- end }}
- name: LONGLINE_AUTH
  value: {{ $root.Values.auth.mode }}
- name: LONGLINE_SHARD_COUNT
  value: {{ $root.Values.shardCount | quote }}
- name: LONGLINE_LOG_LEVEL
  value: {{ $root.Values.logLevel }}
{{- with $root.Values.redis.caSecret.name }}
- name: NODE_EXTRA_CA_CERTS
  value: /etc/longline/redis-ca/{{ $root.Values.redis.caSecret.key }}
{{- end }}
{{- range $name := include "longline.secretKeys" . | fromJsonArray }}
- name: {{ $name }}
  valueFrom:
    secretKeyRef:
      name: {{ $root.Values.auth.existingSecret.name }}
      key: {{ $name }}
{{- end }}
{{- range $name, $value := (index $root.Values .role).settings }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end -}}

{{- /* Of the secret's settings those that this role knows: a process refuses what is not its own. */ -}}
{{- define "longline.secretKeys" -}}
{{- $keys := list -}}
{{- $own := printf "LONGLINE_%s_" (upper .role) -}}
{{- range .root.Values.auth.existingSecret.keys -}}
{{- $isOthers := or (hasPrefix "LONGLINE_EDGE_" .) (hasPrefix "LONGLINE_ROUTER_" .) (hasPrefix "LONGLINE_CONTROL_" .) -}}
{{- $isOfBackends := hasPrefix "LONGLINE_BACKEND_" . -}}
{{- $isOfDevices := or (hasPrefix "LONGLINE_JWT_" .) (hasPrefix "LONGLINE_TICKET_" .) -}}
{{- $isSecretOfOthers := or (and $isOfBackends (ne $.role "router")) (and $isOfDevices (eq $.role "control")) -}}
{{- if and (or (hasPrefix $own .) (not $isOthers)) (not $isSecretOfOthers) -}}
{{- $keys = append $keys . -}}
{{- end -}}
{{- end -}}
{{- toJson $keys -}}
{{- end -}}

{{- /* Settings that edges and routers have. */ -}}
{{- define "longline.servingEnv" -}}
- name: LONGLINE_CONTROL_ADDRESS
  value: {{ include "longline.name" . }}-control-all.{{ .Release.Namespace }}.svc:7201
{{- with .Values.corsOrigins }}
- name: LONGLINE_CORS_ORIGINS
  value: {{ . | quote }}
{{- end }}
{{- with .Values.proxyNetworks }}
- name: LONGLINE_PROXY_NETWORKS
  value: {{ . | quote }}
{{- end }}
{{- range $name, $value := .Values.auth.settings }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end -}}

{{- define "longline.volumeMounts" -}}
{{- if .Values.redis.caSecret.name -}}
volumeMounts:
  - name: redis-ca
    mountPath: /etc/longline/redis-ca
    readOnly: true
{{- end -}}
{{- end -}}

{{- define "longline.volumes" -}}
{{- with .Values.redis.caSecret -}}
{{- if .name -}}
volumes:
  - name: redis-ca
    secret:
      secretName: {{ .name }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Alive as long as it answers; ready when it can prove that it delivers. */ -}}
{{- define "longline.probes" -}}
livenessProbe:
  httpGet:
    path: /healthz
    port: {{ .port }}
  periodSeconds: 10
  timeoutSeconds: 5
  # A minute: killing an edge that only lags sends all its devices to others that lag, too.
  failureThreshold: 6
readinessProbe:
  httpGet:
    path: {{ .ready }}
    port: {{ .port }}
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 2
{{- end -}}

{{- define "longline.disruptionBudget" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "longline.meta" . | nindent 2 }}
spec:
  maxUnavailable: 1
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "longline.selector" . | nindent 6 }}
{{- end -}}
