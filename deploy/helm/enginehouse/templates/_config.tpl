{{/*
The fleet's key, of which each rendering has one: of the Secret that is there, or a new one. Without a cluster to ask,
as `helm template` has none, there is a new one each time: give `fleetKey` then.
*/}}
{{- define "enginehouse.fleetKey" -}}
{{- if not (hasKey .Values.fleetKey "made") -}}
{{- $name := printf "%s-fleet" (include "enginehouse.fullname" .) -}}
{{- $known := dig "data" "key" "" (lookup "v1" "Secret" .Release.Namespace $name | default dict) -}}
{{- $_ := set .Values.fleetKey "made" (ternary ($known | b64dec) (printf "eh-%s" (randAlphaNum 43)) (ne $known "")) -}}
{{- end -}}
{{ .Values.fleetKey.made }}
{{- end -}}

{{- define "enginehouse.fleetKeyHash" -}}
{{- if .Values.fleetKey.existingSecret -}}
{{ required "fleetKey.sha256: give the hash of the key in fleetKey.existingSecret; `enginehouse keys new fleet` prints both." .Values.fleetKey.sha256 }}
{{- else -}}
{{ include "enginehouse.fleetKey" . | sha256sum }}
{{- end -}}
{{- end -}}

{{/* Make whole numbers of the fractions that YAML's numbers are here, in the dict `.` and below it. */}}
{{- define "enginehouse.whole" -}}
{{- range $key, $value := . -}}
{{- if kindIs "map" $value -}}{{- include "enginehouse.whole" $value -}}
{{- else if kindIs "slice" $value -}}
{{- $items := list -}}
{{- range $value -}}
{{- if kindIs "map" . -}}{{- include "enginehouse.whole" . -}}{{- $items = append $items . -}}
{{- else if and (kindIs "float64" .) (eq (floor .) .) -}}{{- $items = append $items (int64 .) -}}
{{- else -}}{{- $items = append $items . -}}{{- end -}}
{{- end -}}
{{- $_ := set $ $key $items -}}
{{- else if and (kindIs "float64" $value) (eq (floor $value) $value) -}}
{{- $_ := set $ $key (int64 $value) -}}
{{- else if kindIs "invalid" $value -}}
{{- $_ := unset $ $key -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The models, as JSON; without any the embedded one, as the program has it. */}}
{{- define "enginehouse.models" -}}
{{- $embedded := dict "smollm2-135m" (dict "placements" (list (dict "backend" "llamacpp" "source" "demo:smollm2-135m"))) -}}
{{- .Values.config.models | default $embedded | toJson -}}
{{- end -}}

{{/* The router's file: the value, the fleet's key, and each pod of each engine as a host. */}}
{{- define "enginehouse.routerConfig" -}}
{{- $config := deepCopy .Values.config -}}
{{- $_ := set $config "models" (include "enginehouse.models" . | fromJson) -}}
{{- $fleet := dict "name" "fleet" "sha256" (include "enginehouse.fleetKeyHash" .) -}}
{{- $_ := set $config "keys" (append ($config.keys | default list) $fleet) -}}
{{- $hosts := deepCopy ($config.hosts | default dict) -}}
{{- $name := include "enginehouse.fullname" . -}}
{{- range .Values.engines -}}
{{- $engine := include "enginehouse.engine" (dict "root" $ "engine" .) | fromJson -}}
{{- range $at := until (int (include "enginehouse.most" $engine)) -}}
{{- $of := printf "%s-%s" $name $engine.name -}}
{{- $url := printf "http://%s-%d.%s.%s.svc:8000" $of $at $of $.Release.Namespace -}}
{{- $_ := set $hosts (printf "%s-%d" $engine.name $at) (dict "url" $url "key_env" "FLEET_KEY") -}}
{{- end -}}
{{- end -}}
{{- if $hosts }}{{- $_ := set $config "hosts" $hosts -}}{{- end -}}
{{- include "enginehouse.whole" $config -}}
{{ toToml $config }}
{{- end -}}

{{/*
The file of the engine `.engine`: its models as the router has them, and times. Accounts, agents, profiles and all else
that is for clients are the router's.
*/}}
{{- define "enginehouse.engineConfig" -}}
{{- $config := .root.Values.config -}}
{{- $server := dict -}}
{{- range list "drain_timeout_s" "first_token_timeout_s" "idle_timeout_s" "total_timeout_s" "hang_timeout_s" "keep_alive_s" "max_body_bytes" "max_in_flight_bytes" -}}
{{- if hasKey ($config.server | default dict) . }}{{- $_ := set $server . (index $config.server .) -}}{{- end -}}
{{- end -}}
{{- $_ := set $server "console" false -}}
{{- $_ := set $server "docs" false -}}
{{- $all := include "enginehouse.models" .root | fromJson -}}
{{- $own := list -}}
{{- range $name, $model := $all -}}
{{- range $model.placements -}}
{{- if ne .backend "upstream" }}{{- $own = append $own $name -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- $models := dict -}}
{{- range $name := .engine.models | default $own -}}
{{- if not (hasKey $all $name) -}}
{{- fail (printf "engines: '%s' is to serve the model '%s', which config.models does not have. There are: %s." $.engine.name $name (keys $all | sortAlpha | join ", ")) -}}
{{- end -}}
{{- $_ := set $models $name (index $all $name) -}}
{{- end -}}
{{- $file := dict "server" $server "models" $models -}}
{{- $_ := set $file "keys" (list (dict "name" "fleet" "sha256" (include "enginehouse.fleetKeyHash" .root))) -}}
{{- range list "trust" "fingerprint" "budget" "weights" "log" "watch" "telemetry" -}}
{{- if hasKey $config . }}{{- $_ := set $file . (deepCopy (index $config .)) -}}{{- end -}}
{{- end -}}
{{- include "enginehouse.whole" $file -}}
{{ toToml $file }}
{{- end -}}

{{/* What can be said of the values before anything is made of them. */}}
{{- define "enginehouse.check" -}}
{{- $url := dig "accounts" "url" "" .Values.config -}}
{{- $usage := dig "usage" "path" "" .Values.config -}}
{{- if gt (int .Values.router.replicas) 1 -}}
{{- if or (hasPrefix "sqlite:" $url) $usage -}}
{{- fail "router.replicas: several routers cannot share a SQLite file. Set config.accounts.url to a postgresql:// URL, or router.replicas to 1." -}}
{{- else if not (hasPrefix "postgresql:" $url) -}}
{{- fail "router.replicas: several routers share limits, usage and credits by PostgreSQL. Set config.accounts.url to a postgresql:// URL, or router.replicas to 1." -}}
{{- end -}}
{{- if .Values.router.persistence.enabled -}}
{{- fail "router.persistence: a volume is for one router. Set router.persistence.enabled to false, or router.replicas to 1." -}}
{{- end -}}
{{- end -}}
{{- if and (or (hasPrefix "sqlite:" $url) $usage) (not .Values.router.persistence.enabled) -}}
{{- fail "config.accounts: a SQLite file would be lost with its pod. Set router.persistence.enabled to true and the file below /data, as sqlite:////data/accounts.db, or name a postgresql:// URL." -}}
{{- end -}}
{{- if and (hasPrefix "postgresql:" $url) (contains "@" $url) (regexMatch "^postgresql://[^/@]*:[^/@]*@" $url) -}}
{{- fail "config.accounts.url: a password does not belong into a ConfigMap. Give it in a Secret: postgresql.existingSecret." -}}
{{- end -}}
{{- if and .Values.serviceMonitor.enabled .Values.networkPolicy.enabled (not .Values.networkPolicy.metricsFrom) -}}
{{- fail "networkPolicy.metricsFrom: Prometheus would not reach the engines. Name its peers, such as a namespaceSelector, or set networkPolicy.enabled to false." -}}
{{- end -}}
{{- if and (hasPrefix "sqlite:" $url) (not (hasPrefix "sqlite:////data/" $url)) -}}
{{- fail "config.accounts.url: only /data can be written. Name a file there, as sqlite:////data/accounts.db." -}}
{{- end -}}
{{- $names := dict -}}
{{- range .Values.engines -}}
{{- if hasKey $names .name -}}
{{- fail (printf "engines: there are two called '%s'. Each needs a name of its own." .name) -}}
{{- end -}}
{{- $_ := set $names .name true -}}
{{- end -}}
{{- end -}}
