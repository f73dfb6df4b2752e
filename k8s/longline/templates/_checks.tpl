{{- /* Rejects values that contradict each other. values.schema.json checks each value alone. */ -}}

{{- define "longline.check" -}}
{{- $problems := concat
  (include "longline.checkRedis" . | fromJsonArray)
  (include "longline.checkAuth" . | fromJsonArray)
  (include "longline.checkDrain" . | fromJsonArray)
  (include "longline.checkReach" . | fromJsonArray)
  (include "longline.checkScaling" . | fromJsonArray)
  (include "longline.checkServices" . | fromJsonArray)
  (include "longline.checkRoutes" . | fromJsonArray)
  (include "longline.checkPods" . | fromJsonArray)
  (include "longline.checkLabels" . | fromJsonArray)
  (include "longline.checkMonitoring" . | fromJsonArray) -}}
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
{{- $problems = append $problems "redis: no address; set redis.existingSecret.name (a secret with the URL), redis.url, or for a trial redis.bundled.enabled=true" -}}
{{- end -}}
{{- if gt (len $ways) 1 -}}
{{- $problems = append $problems "redis: url and existingSecret.name are both set; set one of them" -}}
{{- end -}}
{{- if and .bundled.enabled .sentinelMaster -}}
{{- $problems = append $problems "redis.sentinelMaster: the bundled Redis has no Sentinels; unset one of them" -}}
{{- end -}}
{{- if and .bundled.enabled .url -}}
{{- $problems = append $problems "redis: bundled.enabled and url are both set; set one of them" -}}
{{- end -}}
{{- end -}}
{{- $prefix := include "longline.redisPrefix" . -}}
{{- if and $prefix (not (regexMatch "^[A-Za-z0-9]([A-Za-z0-9._:-]{0,62}[A-Za-z0-9])?$" $prefix)) -}}
{{- $problems = append $problems (printf "redis.prefix: %q is not 1 to 64 of A-Z a-z 0-9 . _ : -, starting and ending with a letter or digit" $prefix) -}}
{{- end -}}
{{- $name := tpl .Values.clusterName . -}}
{{- if and $name (not (regexMatch "^[A-Za-z0-9._/-]{1,128}$" $name)) -}}
{{- $problems = append $problems (printf "clusterName: %q is not 1 to 128 of A-Z a-z 0-9 . _ / -" $name) -}}
{{- end -}}
{{- /* Without a cluster to ask, as in `helm template`, nothing is found. */ -}}
{{- if .Release.IsUpgrade -}}
{{- $control := printf "%s-control" (include "longline.name" .) -}}
{{- with lookup "apps/v1" "Deployment" .Release.Namespace $control -}}
{{- $problems = concat $problems (include "longline.checkPrefixKept" (dict "deployment" . "prefix" $prefix) | fromJsonArray) -}}
{{- end -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}

{{- /* A release keeps its prefix. Argument: dict with deployment, the installed control, and prefix. */ -}}
{{- define "longline.checkPrefixKept" -}}
{{- $problems := list -}}
{{- $installed := "" -}}
{{- range .deployment.spec.template.spec.containers -}}
{{- range .env -}}
{{- if eq .name "LONGLINE_REDIS_PREFIX" }}{{ $installed = .value }}{{ end -}}
{{- end -}}
{{- end -}}
{{- if ne $installed .prefix -}}
{{- $problems = append $problems (printf "redis.prefix: this release is installed with %q, and %q would not find its stored pushes; set redis.prefix to %q" $installed .prefix $installed) -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}

{{- define "longline.checkAuth" -}}
{{- $problems := list -}}
{{- with .Values.auth -}}
{{- if not .mode -}}
{{- $problems = append $problems "auth.mode: not set; set jwt, or none to run without authentication" -}}
{{- end -}}
{{- $given := concat .existingSecret.keys (keys .settings) -}}
{{- $places := "in auth.settings or auth.existingSecret.keys" -}}
{{- if .jwtKeysSecret.name }}{{ $given = append $given "auth.jwtKeysSecret.name" }}{{ end -}}
{{- if .backendTokensSecret.name }}{{ $given = append $given "auth.backendTokensSecret.name" }}{{ end -}}
{{- $keySources := list "LONGLINE_JWT_KEYS" "LONGLINE_JWT_JWKS_URL" "auth.jwtKeysSecret.name" -}}
{{- $keysGiven := list -}}
{{- range $keySources }}{{ if has . $given }}{{ $keysGiven = append $keysGiven . }}{{ end }}{{ end -}}
{{- if gt (len $keysGiven) 1 -}}
{{- $problems = append $problems (printf "auth: %s are set; set one of them" (join " and " $keysGiven)) -}}
{{- end -}}
{{- if eq .mode "jwt" -}}
{{- range $all := list
  (list "LONGLINE_JWT_ALGORITHMS")
  $keySources
  (list "LONGLINE_TICKET_SECRET")
  (list "LONGLINE_LINK_TOKEN" "LONGLINE_LINK_CERTIFICATES")
  (list "LONGLINE_BACKEND_TOKENS" "LONGLINE_BACKEND_CERTIFICATES" "auth.backendTokensSecret.name") -}}
{{- $isGiven := false -}}
{{- range $all }}{{ if has . $given }}{{ $isGiven = true }}{{ end }}{{ end -}}
{{- if not $isGiven -}}
{{- $problems = append $problems (printf "auth: mode=jwt requires %s, settings %s" (join " or " $all) $places) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if eq .mode "none" -}}
{{- range $given -}}
{{- if or (hasPrefix "LONGLINE_JWT_" .) (hasPrefix "LONGLINE_TICKET_" .) (eq "auth.jwtKeysSecret.name" .) -}}
{{- $problems = append $problems (printf "auth: %s has no effect with mode=none; unset it or set mode=jwt" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range list "LONGLINE_BACKEND_CERTIFICATES" "LONGLINE_LINK_CERTIFICATES" -}}
{{- if and (has . $given) (not $.Values.tls.clientCertificates) -}}
{{- $problems = append $problems (printf "auth: %s requires tls.clientCertificates=true" .) -}}
{{- end -}}
{{- end -}}
{{- range .existingSecret.keys -}}
{{- if hasKey $.Values.auth.settings . -}}
{{- $problems = append $problems (printf "auth: %s is in settings and in existingSecret.keys; remove one of them" .) -}}
{{- end -}}
{{- end -}}
{{- with $.Values.tls -}}
{{- if and .frontSecret (not $.Values.router.front.enabled) -}}
{{- $problems = append $problems "tls.frontSecret: requires router.front.enabled=true" -}}
{{- end -}}
{{- if and .ticketKeysSecret.name (not .edgeSecret) (not .frontSecret) -}}
{{- $problems = append $problems "tls.ticketKeysSecret: neither edges nor front proxies terminate TLS; set edgeSecret or frontSecret" -}}
{{- end -}}
{{- if .deviceCaSecret.name -}}
{{- if and (not .edgeSecret) (not .frontSecret) -}}
{{- $problems = append $problems "tls.deviceCaSecret: neither edges nor front proxies terminate TLS; set edgeSecret or frontSecret" -}}
{{- end -}}
{{- if and (eq $.Values.auth.mode "none") (not .deviceCaSecret.required) -}}
{{- $problems = append $problems "tls.deviceCaSecret.required: with auth.mode=none, optional certificates authenticate no device; set true, or auth.mode=jwt" -}}
{{- end -}}
{{- if and (eq $.Values.auth.mode "none") .frontSecret -}}
{{- $problems = append $problems "tls.deviceCaSecret: a front proxy needs auth.mode=jwt, because it proves to the edge with a ticket that it has seen a certificate" -}}
{{- end -}}
{{- end -}}
{{- if and .edgeSecret (eq $.Values.edge.reach.scheme "http") -}}
{{- $problems = append $problems "tls.edgeSecret: edges serve TLS, but edge.reach.scheme is http; set https or unset it" -}}
{{- end -}}
{{- if and .grpcSecret (not .linkSecret) -}}
{{- $problems = append $problems "tls: with grpcSecret control serves TLS; set linkSecret, the authority that edges and routers trust" -}}
{{- end -}}
{{- if and .linkSecret (not .grpcSecret) -}}
{{- $problems = append $problems "tls: linkSecret requires control to serve TLS; set grpcSecret" -}}
{{- end -}}
{{- if and .clientCertificates (not .grpcSecret) -}}
{{- $problems = append $problems "tls.clientCertificates: requires TLS; set grpcSecret and linkSecret" -}}
{{- end -}}
{{- end -}}
{{- if and .existingSecret.keys (not .existingSecret.name) -}}
{{- $problems = append $problems "auth.existingSecret: keys are set but not the name of the secret; set name" -}}
{{- end -}}
{{- if and .existingSecret.name (not .existingSecret.keys) -}}
{{- $problems = append $problems "auth.existingSecret: no keys; list the keys to use, so that a missing one is detected" -}}
{{- end -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}

{{- define "longline.checkDrain" -}}
{{- $problems := list -}}
{{- $least := include "longline.drainSecondsMin" . | int -}}
{{- $drain := include "longline.drainSeconds" . | int -}}
{{- $grace := include "longline.graceSeconds" . | int -}}
{{- if lt $drain $least -}}
{{- $problems = append $problems (printf "edge.drainSeconds: %d is too short; an edge with %d connections needs %d s to drain at %d reconnects per second" $drain (int .Values.edge.connections) $least (int .Values.control.reconnectsPerSecondMax)) -}}
{{- end -}}
{{- if lt $grace (add $drain 15 | int) -}}
{{- $problems = append $problems (printf "edge.terminationGracePeriodSeconds: %d is too short; the drain needs %d s and the shutdown 15 s: set at least %d" $grace $drain (add $drain 15)) -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}

{{- define "longline.checkReach" -}}
{{- $problems := list -}}
{{- if and .Values.router.front.enabled (not .Values.proxyNetworks) -}}
{{- $problems = append $problems "router.front: edges accept PROXY headers only from known networks; set proxyNetworks to the pod network" -}}
{{- end -}}
{{- $edges := include "longline.edgesMax" . | int -}}
{{- with .Values.edge.reach -}}
{{- if and (eq .mode "tlsRoute") (not .domain) -}}
{{- $problems = append $problems "edge.reach.domain: tlsRoute routes to edges by their names <pod>.<domain>; set domain" -}}
{{- end -}}
{{- if and (eq .mode "tlsRoute") (not .gateway.name) -}}
{{- $problems = append $problems "edge.reach.gateway.name: tlsRoute requires a Gateway with a listener for *.<domain>; set its name" -}}
{{- end -}}
{{- if and (eq .mode "tlsRoute") (eq .scheme "http") -}}
{{- $problems = append $problems "edge.reach.scheme: tlsRoute routes by SNI, which requires TLS; set https or unset it" -}}
{{- end -}}
{{- if eq .mode "loadBalancer" -}}
{{- if and (not .domain) (not .addresses) -}}
{{- $problems = append $problems "edge.reach: loadBalancer requires `domain` (for the names <pod>.<domain>) or `addresses`" -}}
{{- end -}}
{{- end -}}
{{- if .addresses -}}
{{- if ne .mode "loadBalancer" -}}
{{- $problems = append $problems (printf "edge.reach.addresses: used only with loadBalancer, not with %s; unset it" .mode) -}}
{{- else if lt (len .addresses) $edges -}}
{{- $problems = append $problems (printf "edge.reach.addresses: %d addresses for up to %d edges; set one for each edge" (len .addresses) $edges) -}}
{{- end -}}
{{- end -}}
{{- if and (eq .mode "nodePort") (gt (add .nodePortBase $edges -1 | int) 32767) -}}
{{- $problems = append $problems (printf "edge.reach.nodePortBase: %d with %d edges exceeds port 32767; set a lower base" (int .nodePortBase) $edges) -}}
{{- end -}}
{{- if and (eq .mode "nodePort") (ne (int .port) 0) -}}
{{- $problems = append $problems "edge.reach.port: not used with nodePort; set nodePortBase instead" -}}
{{- end -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}

{{- define "longline.checkScaling" -}}
{{- $problems := list -}}
{{- with .Values.autoscaling -}}
{{- if .mode -}}
{{- if lt (int .maxReplicas) (int .minReplicas) -}}
{{- $problems = append $problems "autoscaling: maxReplicas is below minReplicas; raise maxReplicas" -}}
{{- end -}}
{{- $grace := include "longline.graceSeconds" $ | int -}}
{{- if lt (int .scaleDownSeconds) $grace -}}
{{- $problems = append $problems (printf "autoscaling.scaleDownSeconds: %d is too short; an edge needs up to %d s to shut down, and the next must not start earlier" (int .scaleDownSeconds) $grace) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}
