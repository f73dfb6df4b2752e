{{- /* Rejects values of services, routes, pods, labels and monitoring that contradict each other. */ -}}

{{- define "longline.checkServices" -}}
{{- $problems := list -}}
{{- range $path, $service := dict "router.service" .Values.router.service "router.front.service" .Values.router.front.service -}}
{{- if and $service.loadBalancerClass (ne $service.type "LoadBalancer") -}}
{{- $problems = append $problems (printf "%s.loadBalancerClass: used only with the type LoadBalancer, not with %s; unset it" $path $service.type) -}}
{{- end -}}
{{- if and $service.externalTrafficPolicy (eq $service.type "ClusterIP") -}}
{{- $problems = append $problems (printf "%s.externalTrafficPolicy: not used with the type ClusterIP; unset it" $path) -}}
{{- end -}}
{{- end -}}
{{- with .Values.edge.reach -}}
{{- if and .loadBalancerClass (ne .mode "loadBalancer") -}}
{{- $problems = append $problems (printf "edge.reach.loadBalancerClass: used only with loadBalancer, not with %s; unset it" .mode) -}}
{{- end -}}
{{- if and (ne .externalTrafficPolicy "Local") (not (has .mode (list "nodePort" "loadBalancer"))) -}}
{{- $problems = append $problems (printf "edge.reach.externalTrafficPolicy: used only with nodePort and loadBalancer, not with %s; unset it" .mode) -}}
{{- end -}}
{{- end -}}
{{- with .Values.serviceAccount -}}
{{- if and .annotations (not .create) -}}
{{- $problems = append $problems "serviceAccount.annotations: the chart does not create the account; annotate it yourself, or set create=true" -}}
{{- end -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}

{{- define "longline.checkRoutes" -}}
{{- $problems := list -}}
{{- $router := .Values.router -}}
{{- $front := $router.front -}}
{{- range $path, $route := dict "router.ingress" $router.ingress "router.front.ingress" $front.ingress -}}
{{- if and $route.enabled (not $route.hosts) -}}
{{- $problems = append $problems (printf "%s.hosts: empty; set the host names under which devices connect" $path) -}}
{{- end -}}
{{- end -}}
{{- range $path, $route := dict "router.httpRoute" $router.httpRoute "router.front.httpRoute" $front.httpRoute "router.front.tcpRoute" $front.tcpRoute -}}
{{- if and $route.enabled (not $route.parentRefs) -}}
{{- $problems = append $problems (printf "%s.parentRefs: empty; name the Gateway" $path) -}}
{{- end -}}
{{- end -}}
{{- range $kind := list "ingress" "httpRoute" "tcpRoute" -}}
{{- if and (index $front $kind).enabled (not $front.enabled) -}}
{{- $problems = append $problems (printf "router.front.%s: requires router.front.enabled=true" $kind) -}}
{{- end -}}
{{- end -}}
{{- with .Values.edge.reach -}}
{{- range $path, $route := dict "router.ingress" $router.ingress "router.front.ingress" $front.ingress -}}
{{- if and (eq $.Values.edge.reach.mode "balancer") $route.enabled (has $.Values.edge.reach.domain $route.hosts) -}}
{{- $problems = append $problems (printf "%s.hosts: the ingress of the edges serves %s already; use another name" $path $.Values.edge.reach.domain) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and $router.ingress.enabled $front.ingress.enabled -}}
{{- range $router.ingress.hosts -}}
{{- if has . $front.ingress.hosts -}}
{{- $problems = append $problems (printf "router.front.ingress.hosts: %s is also in router.ingress.hosts; use two names" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}

{{- define "longline.checkPods" -}}
{{- $problems := list -}}
{{- if and .Values.canary.enabled (eq .Values.auth.mode "jwt") (not .Values.canary.existingSecret) -}}
{{- $problems = append $problems "canary.existingSecret: not set; with auth.mode=jwt the canary needs credentials" -}}
{{- end -}}
{{- range $role := list "edge" "router" "control" -}}
{{- $own := index $.Values $role -}}
{{- $names := list -}}
{{- range $own.extraEnv -}}
{{- if has .name $names -}}
{{- $problems = append $problems (printf "%s.extraEnv: %s is listed twice; remove one of them" $role .name) -}}
{{- end -}}
{{- if and (hasKey . "value") (hasKey . "valueFrom") -}}
{{- $problems = append $problems (printf "%s.extraEnv: %s has value and valueFrom; remove one of them" $role .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- $volumes := keys (include "longline.files" (dict "root" $ "role" $role) | fromJson) -}}
{{- range $own.extraVolumes -}}
{{- if has .name $volumes -}}
{{- $problems = append $problems (printf "%s.extraVolumes: %s is a volume of the chart, or listed twice; use another name" $role .name) -}}
{{- end -}}
{{- $volumes = append $volumes .name -}}
{{- end -}}
{{- $containers := list $role -}}
{{- range concat ($own.initContainers | default list) ($own.sidecars | default list) -}}
{{- if has .name $containers -}}
{{- $problems = append $problems (printf "%s: %s is the name of two containers; rename that in sidecars or initContainers" $role .name) -}}
{{- end -}}
{{- $containers = append $containers .name -}}
{{- end -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}

{{- define "longline.checkLabels" -}}
{{- $problems := list -}}
{{- $monitoring := .Values.monitoring -}}
{{- $own := include "longline.labels" (dict "root" . "role" "") | fromYaml -}}
{{- range $path, $labels := dict
  "commonLabels" .Values.commonLabels
  "edge.podLabels" .Values.edge.podLabels
  "router.podLabels" .Values.router.podLabels
  "control.podLabels" .Values.control.podLabels
  "canary.podLabels" .Values.canary.podLabels
  "test.podLabels" .Values.test.podLabels
  "monitoring.serviceMonitor.labels" $monitoring.serviceMonitor.labels
  "monitoring.podMonitor.labels" $monitoring.podMonitor.labels
  "monitoring.prometheusRule.labels" $monitoring.prometheusRule.labels
  "monitoring.dashboard.labels" $monitoring.dashboard.labels -}}
{{- range $key, $value := $labels -}}
{{- if hasKey $own $key -}}
{{- $problems = append $problems (printf "%s: the chart sets %s itself; remove it" $path $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}

{{- define "longline.checkMonitoring" -}}
{{- $problems := list -}}
{{- with .Values.monitoring -}}
{{- if and .serviceMonitor.enabled .podMonitor.enabled -}}
{{- $problems = append $problems "monitoring: serviceMonitor and podMonitor are both enabled, which would scrape every pod twice; enable one of them" -}}
{{- end -}}
{{- $alerts := list -}}
{{- range ($.Files.Get "files/alerts.yaml" | fromYaml).groups -}}
{{- range .rules }}{{ $alerts = append $alerts .alert }}{{ end -}}
{{- end -}}
{{- range .prometheusRule.disabled -}}
{{- if not (has . $alerts) -}}
{{- $problems = append $problems (printf "monitoring.prometheusRule.disabled: there is no alert %s; the alerts are %s" . (join ", " $alerts)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}
