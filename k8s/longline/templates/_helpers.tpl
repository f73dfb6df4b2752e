{{- /* Names, labels, and the parts that the pods of all roles share. */ -}}

{{- define "longline.name" -}}
{{- if contains "longline" .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-longline" .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- /* Selector labels. Argument: dict with root and role. */ -}}
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

{{- /* Name and key of the secret that contains the Redis URL. */ -}}
{{- define "longline.redisSecret" -}}
{{- .Values.redis.existingSecret.name | default (printf "%s-redis" (include "longline.name" .)) -}}
{{- end -}}
{{- define "longline.redisKey" -}}
{{- if .Values.redis.existingSecret.name -}}{{ .Values.redis.existingSecret.key }}{{- else -}}url{{- end -}}
{{- end -}}

{{- /* Scheduling constraints of a pod. Argument: dict with root and role. */ -}}
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

{{- /* Security settings of a pod: no API token, no root, no extra privileges. */ -}}
{{- define "longline.pod" -}}
serviceAccountName: {{ include "longline.name" .root }}
automountServiceAccountToken: false
# Otherwise Kubernetes adds a LONGLINE_… variable for each service, which Longline rejects as unknown.
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
# Shows the last log lines, such as an invalid setting, in the status of the pod.
terminationMessagePolicy: FallbackToLogsOnError
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end -}}

{{- /* Settings of all roles. */ -}}
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
{{- $role := .role -}}
{{- range $name := $root.Values.auth.existingSecret.keys }}
{{- if include "longline.appliesTo" (dict "role" $role "name" $name) }}
- name: {{ $name }}
  valueFrom:
    secretKeyRef:
      name: {{ $root.Values.auth.existingSecret.name }}
      key: {{ $name }}
{{- end }}
{{- end }}
{{- range $name, $value := $root.Values.auth.settings }}
{{- if include "longline.appliesTo" (dict "role" $role "name" $name) }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}
{{- with $root.Values.tls }}
{{- if and .edgeSecret (eq $role "edge") }}
- name: LONGLINE_EDGE_TLS_CERT_FILE
  value: /etc/longline/edge-tls/tls.crt
- name: LONGLINE_EDGE_TLS_KEY_FILE
  value: /etc/longline/edge-tls/tls.key
{{- end }}
{{- if and .grpcSecret (ne $role "edge") }}
- name: LONGLINE_GRPC_TLS_CERT_FILE
  value: /etc/longline/grpc-tls/tls.crt
- name: LONGLINE_GRPC_TLS_KEY_FILE
  value: /etc/longline/grpc-tls/tls.key
{{- if .clientCertificates }}
- name: LONGLINE_GRPC_TLS_CLIENT_CA_FILE
  value: /etc/longline/grpc-tls/ca.crt
{{- end }}
{{- end }}
{{- if and .linkSecret (ne $role "control") }}
- name: LONGLINE_LINK_TLS_CA_FILE
  value: /etc/longline/link-tls/ca.crt
{{- if .clientCertificates }}
- name: LONGLINE_LINK_TLS_CERT_FILE
  value: /etc/longline/link-tls/tls.crt
- name: LONGLINE_LINK_TLS_KEY_FILE
  value: /etc/longline/link-tls/tls.key
{{- end }}
{{- end }}
{{- end }}
{{- range $name, $value := (index $root.Values .role).settings }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end -}}

{{- /*
"true" if a setting applies to a role. Other roles would reject the setting, or must not see its secret.
Argument: dict with role and name.
*/ -}}
{{- define "longline.appliesTo" -}}
{{- $of := dict
  "LONGLINE_JWT_" "edge router"
  "LONGLINE_TICKET_" "edge router"
  "LONGLINE_BACKEND_" "router"
  "LONGLINE_LINK_CERTIFICATES" "control"
  "LONGLINE_EDGE_" "edge"
  "LONGLINE_ROUTER_" "router"
  "LONGLINE_CONTROL_" "control" -}}
{{- $roles := "edge router control" -}}
{{- range $prefix, $some := $of -}}
{{- if hasPrefix $prefix $.name -}}{{- $roles = $some -}}{{- end -}}
{{- end -}}
{{- if contains .role $roles -}}true{{- end -}}
{{- end -}}

{{- /* Settings of edges and routers. */ -}}
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
{{- end -}}

{{- /* Secrets that a role reads as files, by the name of the volume. Argument: dict with root and role. */ -}}
{{- define "longline.files" -}}
{{- $files := dict -}}
{{- with .root.Values.redis.caSecret.name }}{{ $_ := set $files "redis-ca" . }}{{ end -}}
{{- if eq .role "edge" }}{{ with .root.Values.tls.edgeSecret }}{{ $_ := set $files "edge-tls" . }}{{ end }}{{ end -}}
{{- if ne .role "edge" }}{{ with .root.Values.tls.grpcSecret }}{{ $_ := set $files "grpc-tls" . }}{{ end }}{{ end -}}
{{- if ne .role "control" }}{{ with .root.Values.tls.linkSecret }}{{ $_ := set $files "link-tls" . }}{{ end }}{{ end -}}
{{- toJson $files -}}
{{- end -}}

{{- define "longline.volumeMounts" -}}
{{- with include "longline.files" . | fromJson -}}
volumeMounts:
  {{- range $name, $secret := . }}
  - name: {{ $name }}
    mountPath: /etc/longline/{{ $name }}
    readOnly: true
  {{- end }}
{{- end -}}
{{- end -}}

{{- define "longline.volumes" -}}
{{- with include "longline.files" . | fromJson -}}
volumes:
  {{- range $name, $secret := . }}
  - name: {{ $name }}
    secret:
      secretName: {{ $secret }}
  {{- end }}
{{- end -}}
{{- end -}}

{{- /* Live while it answers; ready when it can deliver. */ -}}
{{- define "longline.probes" -}}
livenessProbe:
  httpGet:
    path: /healthz
    port: {{ .port }}
  periodSeconds: 10
  timeoutSeconds: 5
  # A minute: killing an edge that is only slow would send all its devices to edges that are slow, too.
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
