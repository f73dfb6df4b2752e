{{- /* The parts that the pods of all roles share, and how values change them. */ -}}

{{- /* Scheduling constraints of a pod. Argument: dict with root and role. */ -}}
{{- define "longline.placement" -}}
{{- $own := index .root.Values .role -}}
{{ include "longline.affinity" . }}
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
{{- include "longline.nodeChoice" $own }}
{{- end -}}

{{- /* Nodes for which the image is built, in every term of the affinity in the values: terms are alternatives. */ -}}
{{- define "longline.affinity" -}}
{{- $platform := include "longline.platform" . -}}
affinity:
{{- with (index .root.Values .role).affinity }}
  {{- $affinity := deepCopy . }}
  {{- $node := $affinity.nodeAffinity | default dict }}
  {{- $required := $node.requiredDuringSchedulingIgnoredDuringExecution | default dict }}
  {{- $terms := list }}
  {{- range $required.nodeSelectorTerms | default (list dict) }}
  {{- $terms = append $terms (set . "matchExpressions" (concat (.matchExpressions | default list) (fromYamlArray $platform))) }}
  {{- end }}
  {{- $_ := set $node "requiredDuringSchedulingIgnoredDuringExecution" (dict "nodeSelectorTerms" $terms) }}
  {{- toYaml (set $affinity "nodeAffinity" $node) | nindent 2 }}
{{- else }}
  nodeAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      nodeSelectorTerms:
        - matchExpressions:
            {{- $platform | nindent 12 }}
{{- end }}
{{- end -}}

{{- define "longline.platform" -}}
- key: kubernetes.io/os
  operator: In
  values: [linux]
- key: kubernetes.io/arch
  operator: In
  values: {{ toJson .root.Values.image.architectures }}
{{- end -}}

{{- define "longline.nodeChoice" -}}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{- /* Security settings of a pod: no API token, no root, no extra privileges. */ -}}
{{- define "longline.pod" -}}
serviceAccountName: {{ include "longline.serviceAccount" .root }}
automountServiceAccountToken: false
# Otherwise Kubernetes adds a LONGLINE_… variable for each service, which Longline rejects as unknown.
enableServiceLinks: false
{{- with include "longline.pullSecrets" .root | fromJsonArray }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext:
  {{- include "longline.changedText" (dict "text" (include "longline.podSecurity" .) "by" (list .root.Values.podSecurityContext (index .root.Values .role).podSecurityContext)) | nindent 2 }}
{{- end -}}

{{- define "longline.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- /* JSON of the names, each once. */ -}}
{{- define "longline.pullSecrets" -}}
{{- $names := list -}}
{{- range concat ((.Values.global | default dict).imagePullSecrets | default list) (.Values.image.pullSecrets | default list) -}}
{{- $names = append $names (kindIs "string" . | ternary . (get (kindIs "map" . | ternary . dict) "name")) -}}
{{- end -}}
{{- uniq $names | toJson -}}
{{- end -}}

{{- define "longline.container" -}}
image: {{ include "longline.image" .root }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
# Shows the last log lines, such as an invalid setting, in the status of the pod.
terminationMessagePolicy: FallbackToLogsOnError
{{ include "longline.containerSecurity" . }}
{{- end -}}

{{- define "longline.containerSecurity" -}}
securityContext:
  {{- include "longline.changedText" (dict "text" (include "longline.privileges" .) "by" (list .root.Values.securityContext (index .root.Values .role).securityContext)) | nindent 2 }}
{{- end -}}

{{- define "longline.privileges" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- /* YAML changed by each map of a list, in this order. Argument: dict with text and by. */ -}}
{{- define "longline.changedText" -}}
{{- if compact .by -}}
{{- $map := fromYaml .text -}}
{{- range .by -}}
{{- $map = include "longline.changed" (list $map .) | fromJson -}}
{{- end -}}
{{- toYaml $map -}}
{{- else -}}
{{ .text }}
{{- end -}}
{{- end -}}

{{- /*
Variables of a role's container: its own, those of extraEnv, which replace its own in their place, and
envFrom. Argument: dict with root, role, and env (YAML).
*/ -}}
{{- define "longline.variables" -}}
{{- $own := index .root.Values .role -}}
env:
{{- with $own.extraEnv }}
  {{- $left := dict }}
  {{- range . }}{{ $_ := set $left .name . }}{{ end }}
  {{- $all := list }}
  {{- range fromYamlArray $.env }}
  {{- $all = append $all (get $left .name | default .) }}
  {{- $_ := unset $left .name }}
  {{- end }}
  {{- range . }}{{ if hasKey $left .name }}{{ $all = append $all . }}{{ end }}{{ end }}
  {{- toYaml $all | nindent 2 }}
{{- else }}
  {{- .env | nindent 2 }}
{{- end }}
{{- with $own.envFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* Live while it answers; ready when it can deliver. Argument: dict with root, role, port and ready. */ -}}
{{- define "longline.probes" -}}
{{- $own := index .root.Values .role -}}
livenessProbe:
  {{- include "longline.probe" (dict "text" (include "longline.livenessProbe" .) "by" $own.livenessProbe) | nindent 2 }}
readinessProbe:
  {{- include "longline.probe" (dict "text" (include "longline.readinessProbe" .) "by" $own.readinessProbe) | nindent 2 }}
{{- with $own.startupProbe }}
startupProbe:
  {{- include "longline.probe" (dict "text" (include "longline.livenessProbe" $) "by" .) | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* A probe has one handler: another one replaces httpGet. Argument: dict with text and by. */ -}}
{{- define "longline.probe" -}}
{{- $by := .by | default dict -}}
{{- if or $by.exec $by.tcpSocket $by.grpc -}}{{- $by = set (deepCopy $by) "httpGet" nil -}}{{- end -}}
{{- include "longline.changedText" (dict "text" .text "by" (list $by)) -}}
{{- end -}}

{{- define "longline.livenessProbe" -}}
httpGet:
  path: /healthz
  port: {{ .port }}
periodSeconds: 10
timeoutSeconds: 5
# A minute: killing an edge that is only slow would send all its devices to edges that are slow, too.
failureThreshold: 6
{{- end -}}

{{- define "longline.readinessProbe" -}}
httpGet:
  path: {{ .ready }}
  port: {{ .port }}
periodSeconds: 2
timeoutSeconds: 2
failureThreshold: 2
{{- end -}}

{{- define "longline.initContainers" -}}
{{- with (index .root.Values .role).initContainers -}}
initContainers:
  {{- toYaml . | nindent 2 }}
{{- end -}}
{{- end -}}

{{- define "longline.sidecars" -}}
{{- with (index .root.Values .role).sidecars -}}
{{- toYaml . -}}
{{- end -}}
{{- end -}}

{{- /* Type of a service and how a load balancer treats it. Argument: the service's values. */ -}}
{{- define "longline.serviceType" -}}
type: {{ .type }}
{{- with .loadBalancerClass }}
loadBalancerClass: {{ . }}
{{- end }}
{{- with .externalTrafficPolicy }}
externalTrafficPolicy: {{ . }}
{{- end }}
{{- end -}}
