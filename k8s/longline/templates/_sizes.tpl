{{- /* Numbers that follow from other numbers. docs/kubernetes.md shows where they were measured. */ -}}

{{- /* Edges that there may be. */ -}}
{{- define "longline.edgesMax" -}}
{{- if .Values.autoscaling.mode -}}{{ int .Values.autoscaling.maxReplicas }}{{- else -}}{{ int .Values.edge.replicas }}{{- end -}}
{{- end -}}

{{- define "longline.edgesMin" -}}
{{- if .Values.autoscaling.mode -}}{{ int .Values.autoscaling.minReplicas }}{{- else -}}{{ int .Values.edge.replicas }}{{- end -}}
{{- end -}}

{{- /*
How long an edge needs to leave, in seconds:
  prepare     15 for each eighth of all shards that it owns: that many are on their way at a time
  ramp        49: the pace needs 98 s to its full height, which costs half of that time
  reconnects  connections ÷ rate
  linger      13: 10 for answers to pushes under way, 3 for browsers that come back once
  closing     5: whoever is left
*/ -}}
{{- define "longline.leaveSeconds" -}}
{{- $edges := include "longline.edgesMin" . | int -}}
{{- $prepare := mul 15 (div (add 8 $edges -1) $edges) -}}
{{- $rate := int .Values.control.reconnectsPerSecondMax -}}
{{- $reconnects := div (add (int .Values.edge.connections) $rate -1) $rate -}}
{{- add $prepare 49 $reconnects 13 5 -}}
{{- end -}}

{{- define "longline.drainSeconds" -}}
{{- .Values.edge.drainSeconds | default (include "longline.leaveSeconds" .) -}}
{{- end -}}

{{- define "longline.graceSeconds" -}}
{{- .Values.edge.terminationGracePeriodSeconds | default (add 15 (include "longline.drainSeconds" . | int)) -}}
{{- end -}}

{{- /*
Memory of an edge in MiB. Request: 128 and 5 KiB for each connection, kernel included, which is charged
to the pod as well. Limit: twice that, for devices that do not read.
*/ -}}
{{- define "longline.edgeMemory" -}}
{{- add 128 (div (mul 5 (int .Values.edge.connections)) 1024) -}}
{{- end -}}

{{- /* Of a router: 256, and 10 KiB for each device of the front, which has two sockets. */ -}}
{{- define "longline.routerMemory" -}}
{{- $front := .Values.router.front -}}
{{- add 256 (ternary (div (mul 10 (int $front.devices)) 1024) 0 $front.enabled) -}}
{{- end -}}

{{- define "longline.routerGraceSeconds" -}}
{{- $front := .Values.router.front -}}
{{- add 20 (ternary (int $front.drainSeconds) 0 $front.enabled) -}}
{{- end -}}

{{- define "longline.resources" -}}
{{- with (index .root.Values .role).resources -}}
{{- toYaml . -}}
{{- else -}}
requests:
  cpu: {{ .cpu }}
  memory: {{ .memory }}Mi
# No limit of CPU: a throttled process lags, and looks dead.
limits:
  memory: {{ mul 2 .memory }}Mi
{{- end -}}
{{- end -}}
