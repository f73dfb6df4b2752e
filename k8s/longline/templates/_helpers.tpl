{{- /* Names, labels, images, and the settings and files that roles share. */ -}}

{{- /* Prefix of all names. 40 characters leave room for the longest suffix of 63 that Kubernetes allows. */ -}}
{{- define "longline.name" -}}
{{- $chart := include "longline.chartName" . -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $chart) (contains $chart .Release.Name) -}}
{{- .Values.fullnameOverride | default $full | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "longline.chartName" -}}
{{- .Values.nameOverride | default "longline" -}}
{{- end -}}

{{- define "longline.serviceAccount" -}}
{{- with .Values.serviceAccount -}}
{{- .name | default (ternary (include "longline.name" $) "default" .create) -}}
{{- end -}}
{{- end -}}

{{- /* Selector labels. Argument: dict with root and role. */ -}}
{{- define "longline.selector" -}}
app.kubernetes.io/name: {{ include "longline.chartName" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .role }}
{{- end -}}

{{- define "longline.labels" -}}
{{ include "longline.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{- /*
Metadata of an object. Argument: dict with root and role, and optionally name (default: that of the
role), labels and annotations, which replace common ones with the same key.
*/ -}}
{{- define "longline.meta" -}}
name: {{ .name | default (printf "%s-%s" (include "longline.name" .root) .role) }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "longline.labels" . | nindent 2 }}
  {{- with include "longline.joined" (list .root.Values.commonLabels .labels) | fromJson }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with include "longline.joined" (list .root.Values.commonAnnotations .annotations) | fromJson }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* Labels and annotations in a pod template. Argument: dict with root and role. */ -}}
{{- define "longline.podMeta" -}}
{{- $own := index .root.Values .role -}}
labels:
  {{- include "longline.selector" . | nindent 2 }}
  {{- with include "longline.joined" (list .root.Values.commonLabels $own.podLabels) | fromJson }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with include "longline.joined" (list .root.Values.commonAnnotations $own.podAnnotations) | fromJson }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* JSON of several maps as one; later ones win. Argument: list of maps, or nothing in place of a map. */ -}}
{{- define "longline.joined" -}}
{{- $joined := dict -}}
{{- range . -}}
{{- range $key, $value := . | default dict -}}{{- $_ := set $joined $key $value -}}{{- end -}}
{{- end -}}
{{- toJson $joined -}}
{{- end -}}

{{- /*
JSON of a map changed by another: maps are merged, other values replaced, and null removes a key.
Argument: list of the two.
*/ -}}
{{- define "longline.changed" -}}
{{- $base := index . 0 -}}
{{- range $key, $value := index . 1 | default dict -}}
{{- if kindIs "invalid" $value -}}
{{- $_ := unset $base $key -}}
{{- else if and (kindIs "map" $value) (kindIs "map" (get $base $key)) -}}
{{- $_ := set $base $key (include "longline.changed" (list (get $base $key) $value) | fromJson) -}}
{{- else -}}
{{- $_ := set $base $key $value -}}
{{- end -}}
{{- end -}}
{{- toJson $base -}}
{{- end -}}

{{- define "longline.image" -}}
{{- with .Values.image -}}
{{- $registry := ($.Values.global | default dict).imageRegistry | default .registry -}}
{{- $repository := ternary (printf "%s/%s" $registry .repository) .repository (not (empty $registry)) -}}
{{- if .digest -}}
{{ $repository }}@{{ .digest }}
{{- else -}}
{{ $repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* A global registry replaces that of the image, if it names one. */ -}}
{{- define "longline.redisImage" -}}
{{- $image := .Values.redis.bundled.image -}}
{{- with (.Values.global | default dict).imageRegistry -}}
{{ . }}/{{ regexReplaceAll "^([^/]*[.:][^/]*|localhost)/" $image "" }}
{{- else -}}
{{ $image }}
{{- end -}}
{{- end -}}

{{- /* Name and key of the secret that contains the Redis URL. */ -}}
{{- define "longline.redisSecret" -}}
{{- .Values.redis.existingSecret.name | default (printf "%s-redis" (include "longline.name" .)) -}}
{{- end -}}
{{- define "longline.redisKey" -}}
{{- if .Values.redis.existingSecret.name -}}{{ .Values.redis.existingSecret.key }}{{- else -}}url{{- end -}}
{{- end -}}

{{- /* Start of all names of keys and channels in Redis; empty: none. */ -}}
{{- define "longline.redisPrefix" -}}
{{- tpl .Values.redis.prefix . -}}
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
{{- with include "longline.redisPrefix" $root }}
- name: LONGLINE_REDIS_PREFIX
  value: {{ . | quote }}
{{- end }}
{{- with tpl $root.Values.clusterName $root }}
- name: LONGLINE_CLUSTER_NAME
  value: {{ . | quote }}
{{- end }}
{{- with $root.Values.redis.evictionAccepted }}
- name: LONGLINE_REDIS_EVICTION_ACCEPTED
  value: {{ . }}
{{- end }}
{{- with $root.Values.redis.natMap }}
- name: LONGLINE_REDIS_NAT_MAP
  value: {{ . | quote }}
{{- end }}
- name: LONGLINE_AUTH
  value: {{ $root.Values.auth.mode }}
- name: LONGLINE_SHARD_COUNT
  value: {{ $root.Values.shardCount | quote }}
- name: LONGLINE_LOG_LEVEL
  value: {{ $root.Values.logLevel }}
{{- with $root.Values.redis.caSecret.name }}
- name: LONGLINE_REDIS_TLS_CA_FILE
  value: /etc/longline/redis-ca/{{ $root.Values.redis.caSecret.key }}
{{- end }}
{{- if $root.Values.redis.clientCertificateSecret }}
- name: LONGLINE_REDIS_TLS_CERT_FILE
  value: /etc/longline/redis-tls/tls.crt
- name: LONGLINE_REDIS_TLS_KEY_FILE
  value: /etc/longline/redis-tls/tls.key
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
{{- with $root.Values.auth.jwtKeysSecret }}
{{- if and .name (ne $role "control") }}
- name: LONGLINE_JWT_KEYS_FILE
  value: /etc/longline/jwt-keys/{{ .key }}
{{- end }}
{{- end }}
{{- with $root.Values.auth.backendTokensSecret }}
{{- if and .name (eq $role "router") }}
- name: LONGLINE_BACKEND_TOKENS_FILE
  value: /etc/longline/backend-tokens/{{ .key }}
{{- end }}
{{- end }}
{{- with $root.Values.tls }}
{{- if and .edgeSecret (eq $role "edge") }}
- name: LONGLINE_EDGE_TLS_CERT_FILE
  value: /etc/longline/edge-tls/tls.crt
- name: LONGLINE_EDGE_TLS_KEY_FILE
  value: /etc/longline/edge-tls/tls.key
{{- include "longline.deviceTls" (dict "tls" . "prefix" "LONGLINE_EDGE_TLS_") }}
{{- end }}
{{- if and .frontSecret (eq $role "router") }}
- name: LONGLINE_ROUTER_FRONT_TLS_CERT_FILE
  value: /etc/longline/front-tls/tls.crt
- name: LONGLINE_ROUTER_FRONT_TLS_KEY_FILE
  value: /etc/longline/front-tls/tls.key
{{- include "longline.deviceTls" (dict "tls" . "prefix" "LONGLINE_ROUTER_FRONT_TLS_") }}
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

{{- /* Argument: dict with tls, the values, and prefix, of the settings. */ -}}
{{- define "longline.deviceTls" -}}
{{- with .tls.ticketKeysSecret }}
{{- if .name }}
- name: {{ $.prefix }}TICKET_KEY_FILE
  value: {{ printf "/etc/longline/tls-tickets/%s" (join ",/etc/longline/tls-tickets/" .keys) }}
{{- end }}
{{- end }}
{{- with .tls.deviceCaSecret }}
{{- if .name }}
- name: {{ $.prefix }}CLIENT_CA_FILE
  value: /etc/longline/device-ca/{{ .key }}
- name: {{ $.prefix }}CLIENT_CERTIFICATES
  value: {{ if .required }}required{{ else }}optional{{ end }}
{{- end }}
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
{{- range $name, $value := .Values.settings }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end -}}

{{- /* "true" if a role terminates TLS of devices. Argument: dict with root and role. */ -}}
{{- define "longline.endsTls" -}}
{{- $secrets := dict "edge" .root.Values.tls.edgeSecret "router" .root.Values.tls.frontSecret -}}
{{- if get $secrets .role -}}true{{- end -}}
{{- end -}}

{{- /* Secrets that a role reads as files, by the name of the volume. Argument: dict with root and role. */ -}}
{{- define "longline.files" -}}
{{- $files := dict -}}
{{- with .root.Values.redis.caSecret.name }}{{ $_ := set $files "redis-ca" . }}{{ end -}}
{{- with .root.Values.redis.clientCertificateSecret }}{{ $_ := set $files "redis-tls" . }}{{ end -}}
{{- if eq .role "edge" }}{{ with .root.Values.tls.edgeSecret }}{{ $_ := set $files "edge-tls" . }}{{ end }}{{ end -}}
{{- if eq .role "router" }}{{ with .root.Values.tls.frontSecret }}{{ $_ := set $files "front-tls" . }}{{ end }}{{ end -}}
{{- if eq "true" (include "longline.endsTls" .) }}{{ with .root.Values.tls.ticketKeysSecret.name }}{{ $_ := set $files "tls-tickets" . }}{{ end }}{{ end -}}
{{- if eq "true" (include "longline.endsTls" .) }}{{ with .root.Values.tls.deviceCaSecret.name }}{{ $_ := set $files "device-ca" . }}{{ end }}{{ end -}}
{{- if ne .role "edge" }}{{ with .root.Values.tls.grpcSecret }}{{ $_ := set $files "grpc-tls" . }}{{ end }}{{ end -}}
{{- if ne .role "control" }}{{ with .root.Values.tls.linkSecret }}{{ $_ := set $files "link-tls" . }}{{ end }}{{ end -}}
{{- if ne .role "control" }}{{ with .root.Values.auth.jwtKeysSecret.name }}{{ $_ := set $files "jwt-keys" . }}{{ end }}{{ end -}}
{{- if eq .role "router" }}{{ with .root.Values.auth.backendTokensSecret.name }}{{ $_ := set $files "backend-tokens" . }}{{ end }}{{ end -}}
{{- toJson $files -}}
{{- end -}}

{{- define "longline.volumeMounts" -}}
{{- $files := include "longline.files" . | fromJson -}}
{{- $extra := (index .root.Values .role).extraVolumeMounts -}}
{{- if or $files $extra -}}
volumeMounts:
  {{- range $name, $secret := $files }}
  - name: {{ $name }}
    mountPath: /etc/longline/{{ $name }}
    readOnly: true
  {{- end }}
  {{- with $extra }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}
{{- end -}}

{{- define "longline.volumes" -}}
{{- $files := include "longline.files" . | fromJson -}}
{{- $extra := (index .root.Values .role).extraVolumes -}}
{{- if or $files $extra -}}
volumes:
  {{- range $name, $secret := $files }}
  - name: {{ $name }}
    secret:
      secretName: {{ $secret }}
  {{- end }}
  {{- with $extra }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}
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
