{{- /* Computed sizes. docs/kubernetes.md shows how they were measured. */ -}}

{{- /* Maximum number of edges. */ -}}
{{- define "longline.edgesMax" -}}
{{- if .Values.autoscaling.mode -}}{{ int .Values.autoscaling.maxReplicas }}{{- else -}}{{ int .Values.edge.replicas }}{{- end -}}
{{- end -}}

{{- define "longline.edgesMin" -}}
{{- if .Values.autoscaling.mode -}}{{ int .Values.autoscaling.minReplicas }}{{- else -}}{{ int .Values.edge.replicas }}{{- end -}}
{{- end -}}

{{- /*
Seconds that an edge needs to drain:
  prepare     15 per eighth of all shards that it owns: that many move at a time
  ramp        49: the pace reaches its maximum in 98 s, which costs half of that time
  reconnects  connections ÷ rate
  linger      13: 10 for verdicts of pushes in flight, 3 for browsers that reconnect once
  closing     5: the remaining connections
*/ -}}
{{- define "longline.drainSecondsMin" -}}
{{- $edges := include "longline.edgesMin" . | int -}}
{{- $prepare := mul 15 (div (add 8 $edges -1) $edges) -}}
{{- $rate := int .Values.control.reconnectsPerSecondMax -}}
{{- $reconnects := div (add (int .Values.edge.connections) $rate -1) $rate -}}
{{- add $prepare 49 $reconnects 13 5 -}}
{{- end -}}

{{- define "longline.drainSeconds" -}}
{{- .Values.edge.drainSeconds | default (include "longline.drainSecondsMin" .) -}}
{{- end -}}

{{- define "longline.graceSeconds" -}}
{{- .Values.edge.terminationGracePeriodSeconds | default (add 15 (include "longline.drainSeconds" . | int)) -}}
{{- end -}}

{{- /*
Memory request of an edge in MiB: 128 plus 5 KiB per connection. This includes kernel memory, which is
charged to the pod. The limit is twice the request, for slow consumers.
*/ -}}
{{- define "longline.edgeMemory" -}}
{{- add 128 (div (mul 5 (int .Values.edge.connections)) 1024) -}}
{{- end -}}

{{- /* Memory request of a router in MiB: 256 plus 10 KiB per front device, which has two sockets. */ -}}
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
# No CPU limit: a throttled process answers late and appears dead.
limits:
  memory: {{ mul 2 .memory }}Mi
{{- end -}}
{{- end -}}
