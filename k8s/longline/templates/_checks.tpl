{{- /* Values that contradict each other. What one value alone may be is in values.schema.json. */ -}}

{{- define "longline.check" -}}
{{- $problems := concat
  (include "longline.checkRedis" . | fromJsonArray)
  (include "longline.checkAuth" . | fromJsonArray)
  (include "longline.checkLeaving" . | fromJsonArray)
  (include "longline.checkReach" . | fromJsonArray)
  (include "longline.checkScaling" . | fromJsonArray) -}}
{{- if $problems -}}
{{- fail (printf "\n\n%d problem(s) in the values\n  %s\n" (len $problems) (join "\n  " $problems)) -}}
{{- end -}}
{{- end -}}

{{- define "longline.checkRedis" -}}
{{- $problems := list -}}
{{- with .Values.redis -}}
{{- $ways := list -}}
{{- if .url }}{{ $ways = append $ways "redis.url" }}{{ end -}}
{{- if .existingSecret.name }}{{ $ways = append $ways "redis.existingSecret.name" }}{{ end -}}
{{- if and (not $ways) (not .bundled.enabled) -}}
{{- $problems = append $problems "redis: say where it is: redis.existingSecret.name (a secret with the URL), redis.url, or for a trial redis.bundled.enabled=true" -}}
{{- end -}}
{{- if gt (len $ways) 1 -}}
{{- $problems = append $problems "redis: url and existingSecret.name are two answers to one question" -}}
{{- end -}}
{{- if and .bundled.enabled .sentinelMaster -}}
{{- $problems = append $problems "redis.sentinelMaster: the bundled Redis has no Sentinels" -}}
{{- end -}}
{{- if and .bundled.enabled .url -}}
{{- $problems = append $problems "redis: bundled.enabled, and a url of another Redis" -}}
{{- end -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}

{{- define "longline.checkAuth" -}}
{{- $problems := list -}}
{{- with .Values.auth -}}
{{- if not .mode -}}
{{- $problems = append $problems "auth.mode: nothing starts unauthenticated by accident; say auth.mode=none if it is to be so" -}}
{{- end -}}
{{- $told := concat .existingSecret.keys (keys .settings) -}}
{{- if eq .mode "jwt" -}}
{{- range $all := list
  (list "LONGLINE_JWT_ALGORITHMS")
  (list "LONGLINE_JWT_KEYS" "LONGLINE_JWT_JWKS_URL")
  (list "LONGLINE_TICKET_SECRET")
  (list "LONGLINE_LINK_TOKEN" "LONGLINE_LINK_CERTIFICATES")
  (list "LONGLINE_BACKEND_TOKENS" "LONGLINE_BACKEND_CERTIFICATES") -}}
{{- $isTold := false -}}
{{- range $all }}{{ if has . $told }}{{ $isTold = true }}{{ end }}{{ end -}}
{{- if not $isTold -}}
{{- $problems = append $problems (printf "auth: with jwt, auth.settings or auth.existingSecret.keys must have %s" (join " or " $all)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if eq .mode "none" -}}
{{- range $told -}}
{{- if or (hasPrefix "LONGLINE_JWT_" .) (hasPrefix "LONGLINE_TICKET_" .) -}}
{{- $problems = append $problems (printf "auth: %s says how devices are authenticated, and mode=none that they are not" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range list "LONGLINE_BACKEND_CERTIFICATES" "LONGLINE_LINK_CERTIFICATES" -}}
{{- if and (has . $told) (not $.Values.tls.clientCertificates) -}}
{{- $problems = append $problems (printf "auth: %s takes tls.clientCertificates" .) -}}
{{- end -}}
{{- end -}}
{{- range .existingSecret.keys -}}
{{- if hasKey $.Values.auth.settings . -}}
{{- $problems = append $problems (printf "auth: %s is in settings and in the secret" .) -}}
{{- end -}}
{{- end -}}
{{- with $.Values.tls -}}
{{- if and .edgeSecret $.Values.proxyNetworks -}}
{{- $problems = append $problems "tls.edgeSecret: an edge with TLS of its own has nothing in front of it that says for whom it connects: proxyNetworks" -}}
{{- end -}}
{{- if and .edgeSecret (eq (get $.Values.edge.settings "LONGLINE_TRANSPORT" | toString) "native") -}}
{{- $problems = append $problems "tls.edgeSecret: the native transport speaks no TLS" -}}
{{- end -}}
{{- if and .edgeSecret (eq $.Values.edge.reach.scheme "http") -}}
{{- $problems = append $problems "tls.edgeSecret: edges speak TLS, and edge.reach.scheme says http" -}}
{{- end -}}
{{- if and .grpcSecret (not .linkSecret) -}}
{{- $problems = append $problems "tls: control has TLS with grpcSecret, so edges and routers need its authority: linkSecret" -}}
{{- end -}}
{{- if and .linkSecret (not .grpcSecret) -}}
{{- $problems = append $problems "tls: linkSecret is for a control with TLS: grpcSecret" -}}
{{- end -}}
{{- if and .clientCertificates (not .grpcSecret) -}}
{{- $problems = append $problems "tls.clientCertificates: it takes TLS: grpcSecret and linkSecret" -}}
{{- end -}}
{{- end -}}
{{- if and .existingSecret.keys (not .existingSecret.name) -}}
{{- $problems = append $problems "auth.existingSecret: keys without the name of the secret" -}}
{{- end -}}
{{- if and .existingSecret.name (not .existingSecret.keys) -}}
{{- $problems = append $problems "auth.existingSecret: list its keys, so that a missing one is noticed" -}}
{{- end -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}

{{- define "longline.checkLeaving" -}}
{{- $problems := list -}}
{{- $least := include "longline.leaveSeconds" . | int -}}
{{- $drain := include "longline.drainSeconds" . | int -}}
{{- $grace := include "longline.graceSeconds" . | int -}}
{{- if lt $drain $least -}}
{{- $problems = append $problems (printf "edge.drainSeconds: %d, but an edge with %d connections needs %d to leave at %d reconnects per second" $drain (int .Values.edge.connections) $least (int .Values.control.reconnectsPerSecondMax)) -}}
{{- end -}}
{{- if lt $grace (add $drain 15 | int) -}}
{{- $problems = append $problems (printf "edge.terminationGracePeriodSeconds: %d, but the drain takes %d and the end 15: at least %d" $grace $drain (add $drain 15)) -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}

{{- define "longline.checkReach" -}}
{{- $problems := list -}}
{{- if and .Values.router.front.enabled (not .Values.proxyNetworks) -}}
{{- $problems = append $problems "router.front: edges believe routers only if they know their network: set proxyNetworks to that of the pods" -}}
{{- end -}}
{{- $edges := include "longline.edgesMax" . | int -}}
{{- with .Values.edge.reach -}}
{{- if and (eq .mode "tlsRoute") (not .domain) -}}
{{- $problems = append $problems "edge.reach.domain: tlsRoute tells edges apart by their names <pod>.<domain>" -}}
{{- end -}}
{{- if and (eq .mode "tlsRoute") (not .gateway.name) -}}
{{- $problems = append $problems "edge.reach.gateway.name: tlsRoute takes a Gateway with a listener for *.<domain>" -}}
{{- end -}}
{{- if and (eq .mode "tlsRoute") (eq .scheme "http") -}}
{{- $problems = append $problems "edge.reach.scheme: without TLS there is no SNI to tell edges apart" -}}
{{- end -}}
{{- if eq .mode "loadBalancer" -}}
{{- if and (not .domain) (not .addresses) -}}
{{- $problems = append $problems "edge.reach: with loadBalancer, say `domain` (its names are made from serviceAnnotations) or `addresses`" -}}
{{- end -}}
{{- end -}}
{{- if .addresses -}}
{{- if ne .mode "loadBalancer" -}}
{{- $problems = append $problems (printf "edge.reach.addresses: they are for loadBalancer, not for %s" .mode) -}}
{{- else if lt (len .addresses) $edges -}}
{{- $problems = append $problems (printf "edge.reach.addresses: %d for up to %d edges" (len .addresses) $edges) -}}
{{- end -}}
{{- end -}}
{{- if and (eq .mode "nodePort") (gt (add .nodePortBase $edges -1 | int) 32767) -}}
{{- $problems = append $problems (printf "edge.reach.nodePortBase: %d and %d edges go past 32767" (int .nodePortBase) $edges) -}}
{{- end -}}
{{- if and (eq .mode "nodePort") (ne (int .port) 0) -}}
{{- $problems = append $problems "edge.reach.port: with nodePort it is nodePortBase that counts" -}}
{{- end -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}

{{- define "longline.checkScaling" -}}
{{- $problems := list -}}
{{- with .Values.autoscaling -}}
{{- if .mode -}}
{{- if lt (int .maxReplicas) (int .minReplicas) -}}
{{- $problems = append $problems "autoscaling: maxReplicas is below minReplicas" -}}
{{- end -}}
{{- $grace := include "longline.graceSeconds" $ | int -}}
{{- if lt (int .scaleDownSeconds) $grace -}}
{{- $problems = append $problems (printf "autoscaling.scaleDownSeconds: %d, but an edge takes up to %d to leave; the next would go while it does" (int .scaleDownSeconds) $grace) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}
