{{- /* How devices reach a particular edge: its advertised URL and its own service. */ -}}

{{- define "longline.scheme" -}}
{{- with .Values.edge.reach -}}
{{- if .scheme -}}{{ .scheme }}
{{- else if $.Values.tls.edgeSecret -}}https
{{- else if and .domain (has .mode (list "balancer" "tlsRoute")) -}}https
{{- else -}}http
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Port in the advertised URL: with hostPort the port of the node, with loadBalancer of the service. */ -}}
{{- define "longline.reachPort" -}}
{{- .Values.edge.reach.port | default 7000 -}}
{{- end -}}

{{- /*
Several URLs, separated by commas: each edge uses the one at its ordinal. The kubelet expands $( ).
*/ -}}
{{- define "longline.advertisedUrl" -}}
{{- $scheme := include "longline.scheme" . -}}
{{- $port := include "longline.reachPort" . -}}
{{- $urls := list -}}
{{- with .Values.edge.reach -}}
{{- if and (eq .mode "balancer") (not .domain) -}}
{{- $urls = list (printf "%s://$(LONGLINE_EDGE_ID).%s-edge.%s.svc:7000" $scheme (include "longline.name" $) $.Release.Namespace) -}}
{{- else if has .mode (list "balancer" "tlsRoute") -}}
{{- $suffix := ternary (printf ":%d" (int .port)) "" (ne (int .port) 0) -}}
{{- $urls = list (printf "%s://$(LONGLINE_EDGE_ID).%s%s" $scheme .domain $suffix) -}}
{{- else if eq .mode "hostPort" -}}
{{- $host := ternary (printf "$(NODE_NAME).%s" .domain) "[$(NODE_IP)]" (ne .domain "") -}}
{{- $urls = list (printf "%s://%s:%s" $scheme $host $port) -}}
{{- else if eq .mode "nodePort" -}}
{{- $host := ternary (printf "$(NODE_NAME).%s" .domain) "[$(NODE_IP)]" (ne .domain "") -}}
{{- range $n := until (include "longline.edgesMax" $ | int) -}}
{{- $urls = append $urls (printf "%s://%s:%d" $scheme $host (add (int $.Values.edge.reach.nodePortBase) $n)) -}}
{{- end -}}
{{- else if .addresses -}}
{{- range .addresses -}}
{{- $urls = append $urls (printf "%s://%s:%s" $scheme . $port) -}}
{{- end -}}
{{- else -}}
{{- $urls = list (printf "%s://$(LONGLINE_EDGE_ID).%s:%s" $scheme .domain $port) -}}
{{- end -}}
{{- end -}}
{{- join "," $urls -}}
{{- end -}}

{{- /* "true" if each edge has a service of its own. */ -}}
{{- define "longline.hasOwnServices" -}}
{{- with .Values.edge.reach -}}
{{- if or (has .mode (list "nodePort" "loadBalancer" "tlsRoute")) (and (eq .mode "balancer") .domain) -}}
true
{{- end -}}
{{- end -}}
{{- end -}}
