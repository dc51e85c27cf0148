{{- /* The name of all objects. */ -}}
{{- define "headcount.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride }}
{{- else if contains "headcount" .Release.Name -}}
{{ .Release.Name | trunc 48 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-headcount" .Release.Name | trunc 48 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{- define "headcount.selector" -}}
app.kubernetes.io/name: headcount
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "headcount.redisSelector" -}}
app.kubernetes.io/name: headcount-redis
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- /* What every object has beside its selector. */ -}}
{{- define "headcount.common" -}}
app.kubernetes.io/part-of: headcount
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "headcount.labels" -}}
{{ include "headcount.selector" . }}
{{ include "headcount.common" . }}
{{- end -}}

{{- /* The job's name in Prometheus, by which alerts and dashboards tell deployments apart; they ask for headcount.* */ -}}
{{- define "headcount.job" -}}
{{ hasPrefix "headcount" .Release.Name | ternary .Release.Name (printf "headcount-%s" .Release.Name) }}
{{- end -}}

{{- define "headcount.serviceAccount" -}}
{{- $default := .Values.serviceAccount.create | ternary (include "headcount.fullname" .) "default" -}}
{{ .Values.serviceAccount.name | default $default }}
{{- end -}}

{{- define "headcount.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Kubernetes knows the sleep action since 1.30. Before, the instance itself waits, by HEADCOUNT_DRAIN_DELAY. */ -}}
{{- define "headcount.sleeps" -}}
{{- if and .Values.shutdown.endpointsSeconds (semverCompare ">=1.30-0" .Capabilities.KubeVersion.Version) -}}yes{{- end -}}
{{- end -}}

{{- /* The bytes of a quantity such as 1536Mi. */ -}}
{{- define "headcount.bytes" -}}
{{- $units := dict "" 1 "k" 1000 "M" 1000000 "G" 1000000000 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 -}}
{{- $number := regexFind "^[0-9]+" . -}}
{{ mul ($number | int64) (get $units (trimPrefix $number .)) }}
{{- end -}}

{{- /* The sessions that fit into the memory limit at their worst; nothing if there is no limit. docs/security.md has the
       formula: 64 MiB, and for each session 80 KiB and the largest message; with rooms 24 KiB and 150 bytes a room more, with lists
       36 KiB, with keys from an issuer 40 KiB. */ -}}
{{- define "headcount.sessionsThatFit" -}}
{{- with dig "limits" "memory" "" .Values.resources -}}
{{- $settings := $.Values.settings -}}
{{- $session := add 81920 ($settings.maxPayload | default 16384 | int64) -}}
{{- if ne (toString $settings.rooms) "none" -}}
{{- $places := mul 150 (add 100 ($settings.roomsPerConnection | default 8 | int64)) -}}
{{- $session = add $session 24576 (mul 1024 (div (add $places 1023) 1024)) -}}
{{- end -}}
{{- if and $settings.lists (ne (toString $settings.lists) "none") -}}
{{- $session = add $session 36864 -}}
{{- end -}}
{{- if contains "://" (include "headcount.jwtKeys" $) -}}
{{- $session = add $session 40960 -}}
{{- end -}}
{{ div (sub (include "headcount.bytes" . | int64) 67108864) $session }}
{{- end -}}
{{- end -}}

{{- /* HEADCOUNT_MAX_CONNECTIONS; nothing if neither it nor the memory is limited. */ -}}
{{- define "headcount.maxConnections" -}}
{{- $fits := include "headcount.sessionsThatFit" . -}}
{{- with .Values.settings.maxConnections -}}
{{- if and $fits (gt (int64 .) (int64 $fits)) -}}
{{- fail (printf "settings.maxConnections is %d, but %s sessions fit into the memory limit at their worst: raise resources.limits.memory" (int64 .) $fits) -}}
{{- end -}}
{{ int64 . }}
{{- else -}}
{{- if $fits -}}
{{- if lt (int64 $fits) 100 -}}{{- fail "resources.limits.memory holds less than 100 sessions beside the 64 MiB of the instance itself" -}}{{- end -}}
{{ mul (div (min (int64 $fits) 100000) 100) 100 }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Where the files of Secrets are in a pod. */ -}}
{{- define "headcount.jwtFolder" -}}/etc/headcount/jwt{{- end -}}
{{- define "headcount.visitorFolder" -}}/etc/headcount/visitors{{- end -}}

{{- /* HEADCOUNT_JWT_KEYS: the setting, and the files of jwtSecret. */ -}}
{{- define "headcount.jwtKeys" -}}
{{- $keys := list -}}
{{- with .Values.settings.jwtKeys }}{{ $keys = append $keys . }}{{ end -}}
{{- if .Values.jwtSecret.existingSecret -}}
{{- range .Values.jwtSecret.keys }}{{ $keys = append $keys (printf "%s/%s" (include "headcount.jwtFolder" $) .) }}{{ end -}}
{{- end -}}
{{ join "," $keys }}
{{- end -}}

{{- /* A hash of what Secrets hold that something else keeps: "helm upgrade" reads them. Nothing without a cluster. */ -}}
{{- define "headcount.keptSecrets" -}}
{{- $held := list -}}
{{- $wanted := list
      (dict "name" .Values.adminToken.existingSecret "keys" (list .Values.adminToken.key))
      (dict "name" .Values.jwtSecret.existingSecret "keys" .Values.jwtSecret.keys)
      (dict "name" .Values.visitorSecret.existingSecret "keys" (list .Values.visitorSecret.key)) -}}
{{- range $wanted -}}
{{- if .name -}}
{{- $data := (lookup "v1" "Secret" $.Release.Namespace .name).data | default dict -}}
{{- range .keys }}{{ $held = append $held (get $data .) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- if join "" $held }}{{ $held | toJson | sha256sum }}{{ end -}}
{{- end -}}

{{- /* A value as text: large whole numbers would come as 1.048576e+06. */ -}}
{{- define "headcount.setting" -}}
{{- if kindIs "string" . }}{{ . | quote }}{{ else }}{{ int64 . | toString | quote }}{{ end -}}
{{- end -}}

{{- /* What the ConfigMap holds. */ -}}
{{- define "headcount.settings" -}}
HEADCOUNT_DRAIN: {{ .Values.shutdown.drainSeconds }}s
HEADCOUNT_DRAIN_DELAY: {{ include "headcount.sleeps" . | empty | ternary .Values.shutdown.endpointsSeconds 0 }}s
{{- with include "headcount.jwtKeys" . }}
HEADCOUNT_JWT_KEYS: {{ . | quote }}
{{- end }}
{{- if .Values.visitorSecret.existingSecret }}
HEADCOUNT_VISITOR_SECRET_FILE: {{ include "headcount.visitorFolder" . }}/{{ .Values.visitorSecret.key }}
{{- end }}
{{- range $name, $value := omit .Values.settings "maxConnections" "jwtKeys" }}
{{- if not (kindIs "invalid" $value) }}
HEADCOUNT_{{ snakecase $name | upper }}: {{ include "headcount.setting" $value }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "headcount.redisSecret" -}}
{{- if eq .Values.redis.mode "existingSecret" -}}
{{ .Values.redis.existingSecret.name }}
{{- else -}}
{{ include "headcount.fullname" . }}-redis
{{- end -}}
{{- end -}}

{{- define "headcount.redisSecretKey" -}}
{{- eq .Values.redis.mode "existingSecret" | ternary .Values.redis.existingSecret.key "url" -}}
{{- end -}}

{{- define "headcount.escaped" -}}
{{ urlquery . | replace "+" "%20" }}
{{- end -}}

{{- define "headcount.credentials" -}}
{{- if or .username .password -}}
{{ include "headcount.escaped" .username }}{{ with .password }}:{{ include "headcount.escaped" . }}{{ end }}@
{{- end -}}
{{- end -}}

{{- define "headcount.redisUrl" -}}
{{- if eq .Values.redis.mode "bundled" -}}
redis://{{ include "headcount.fullname" . }}-redis:6379
{{- else if eq .Values.redis.mode "url" -}}
{{ .Values.redis.url }}
{{- else -}}
{{- with .Values.redis.sentinel -}}
{{- $query := list -}}
{{- with .sentinelUsername }}{{ $query = append $query (printf "sentinel_username=%s" (include "headcount.escaped" .)) }}{{ end -}}
{{- with .sentinelPassword }}{{ $query = append $query (printf "sentinel_password=%s" (include "headcount.escaped" .)) }}{{ end -}}
{{ .tls | ternary "rediss" "redis" }}+sentinel://{{ include "headcount.credentials" . }}{{ join "," .hosts }}/{{ .primary }}
{{- with .database }}/{{ . }}{{ end }}{{ with $query }}?{{ join "&" . }}{{ end }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Whether there are limits for one address: said so, or harmless. */ -}}
{{- define "headcount.limited" -}}
{{- $default := has .Values.ingress.kind (list "haproxy" "nginx") -}}
{{- if kindIs "bool" .Values.ingress.limits.enabled | ternary .Values.ingress.limits.enabled $default -}}yes{{- end -}}
{{- end -}}

{{- /* For HAProxy's backend; deploy/kubernetes/components/ingress says why. */ -}}
{{- define "headcount.haproxySnippet" -}}
option http-no-delay
{{- if include "headcount.limited" . }}
{{- with .Values.ingress.limits }}
stick-table type ipv6 size 100k expire 1m store conn_cur,http_req_rate(10s)
acl headcount_unlimited src {{ join " " .except }}
http-request track-sc2 src,ipmask(32,64) unless headcount_unlimited
http-request return status 429 hdr Retry-After 10 if { sc2_conn_cur gt {{ int64 .openRequests }} } || { sc2_http_req_rate gt {{ int64 .requestsPer10Seconds }} }
{{- end }}
{{- end }}
{{ end -}}
