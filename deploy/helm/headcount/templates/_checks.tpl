{{- /* What the program would refuse, with exit code 2 and so in an endless loop of restarts, is refused here before anything is
       installed. What a pattern can say stands in values.schema.json. What may be a secret is not shown.
       tests/kubernetes/settings.py compares all of this with the program. */ -}}

{{- /* The milliseconds of a duration such as "1min 30s", in the form that the schema allows. */ -}}
{{- define "headcount.milliseconds" -}}
{{- $units := dict "ms" 1 "s" 1000 "m" 60000 "min" 60000 "h" 3600000 -}}
{{- $sum := 0 -}}
{{- range regexFindAll "[0-9]+[a-z]+" . -1 -}}
{{- $number := regexFind "^[0-9]+" . -}}
{{- $sum = add $sum (mul ($number | int64) (get $units (trimPrefix $number .))) -}}
{{- end -}}
{{ $sum }}
{{- end -}}

{{- define "headcount.checkForms" -}}
{{- $settings := .Values.settings -}}
{{- $room := "(/\\*|/[^\\s,*?#]{1,127}\\*?)" -}}
{{- $rooms := printf "^(none|%s( *, *%s)*)$" $room $room -}}
{{- $roomWords := "none, or a list with commas between of rooms such as /blog, or /shop/* for all that begin so; names have 1 to 127 bytes after the slash, and no spaces, ? or #" -}}
{{- $name := "[^,\\s]([^,]*[^,\\s])?" -}}
{{- $names := printf "^%s( *, *%s){0,15}$" $name $name -}}
{{- $nameWords := "1 to 16 names with commas between" -}}
{{- $label := "[^\\s,*%?#@/:.]+" -}}
{{- $host := printf "(%s(\\.%s)*\\.?|\\*(\\.%s){2,}|\\*\\.localhost|\\[[0-9a-fA-F:.]+\\])" $label $label $label -}}
{{- $origin := printf "([A-Za-z][-A-Za-z0-9+.]*://%s(:([0-9]{1,5}|\\*))?/?|file://)" $host -}}
{{- $word := "[!-+\\--~ ]*" -}}
{{- $directive := printf "((?i:error|warn|info|debug|trace|off)|headcount%s|%s[=\\[]%s)" $word $word $word -}}
{{- $store := "^[^{}\\s]([^{}]{0,198}[^{}\\s])?$" -}}
{{- $storeWords := "1 to 200 bytes without braces, and without spaces at either end" -}}
{{- $forms := dict
      "allowedOrigins" (list (printf "^(\\*|%s( *, *%s)*)$" $origin $origin) "* alone, or a list with commas between of origins such as https://blog.example or https://*.shop.example")
      "channel" (list $store $storeWords)
      "jwtAudience" (list $names $nameWords)
      "jwtIssuer" (list $names $nameWords)
      "jwtUserClaim" (list "^\\S(.*\\S)?$" "the name of a claim, without spaces at either end")
      "key" (list $store $storeWords)
      "lists" (list $rooms $roomWords)
      "log" (list (printf "^ *%s( *, *%s)*$" $directive $directive) "a tracing filter such as info, or headcount=debug,warn; levels are error, warn, info, debug, trace and off")
      "privateRooms" (list $rooms $roomWords)
      "rooms" (list $rooms $roomWords) -}}
{{- if regexMatch "(?i)(^|[, ])(ws|wss|ftp|data|blob|about|javascript|mailto|redis)://" ($settings.allowedOrigins | default "") -}}
{{- fail (printf "settings.allowedOrigins is %q, and has a scheme that no page has; websockets come from pages of http:// and https://" $settings.allowedOrigins) -}}
{{- end -}}
{{- range $name, $form := $forms -}}
{{- with get $settings $name -}}
{{- if not (regexMatch (first $form) .) -}}
{{- fail (printf "settings.%s is %q, but must be %s" $name . (last $form)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "headcount.checkDurations" -}}
{{- $settings := .Values.settings -}}
{{- $ranges := dict
      "emitInterval" (list "1ms" "10s")
      "grace" (list "0s" "1min")
      "heartbeat" (list "10ms" "100s")
      "keepAlive" (list "1s" "1h")
      "lease" (list "1510ms" "5min")
      "pingInterval" (list "1s" "10min")
      "pingTimeout" (list "1s" "10min") -}}
{{- range $name, $range := $ranges -}}
{{- with get $settings $name -}}
{{- $value := include "headcount.milliseconds" . | int64 -}}
{{- $least := include "headcount.milliseconds" (first $range) | int64 -}}
{{- $most := include "headcount.milliseconds" (last $range) | int64 -}}
{{- if or (lt $value $least) (gt $value $most) -}}
{{- fail (printf "settings.%s is %s, but must be from %s to %s" $name . (first $range) (last $range)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $lease := include "headcount.milliseconds" ($settings.lease | default "2s") | int64 -}}
{{- $heartbeat := include "headcount.milliseconds" ($settings.heartbeat | default "500ms") | int64 -}}
{{- if gt (mul 3 $heartbeat) $lease -}}
{{- fail (printf "settings.heartbeat is %d ms, but must be at most a third of settings.lease, which is %d ms" $heartbeat $lease) -}}
{{- end -}}
{{- if lt $lease (add 1500 $heartbeat) -}}
{{- fail (printf "settings.lease is %d ms, but must be at least 1500 ms and settings.heartbeat, which is %d ms" $lease $heartbeat) -}}
{{- end -}}
{{- end -}}

{{- /* Whether keys may come by a variable that the chart does not know. */ -}}
{{- define "headcount.keysFromElsewhere" -}}
{{- if .Values.extraEnvFrom -}}yes{{- end -}}
{{- range .Values.extraEnv -}}{{- if eq .name "HEADCOUNT_JWT_KEYS" -}}yes{{- end -}}{{- end -}}
{{- end -}}

{{- /* The entries of a list with commas between, as JSON. */ -}}
{{- define "headcount.entries" -}}
{{- $entries := list -}}
{{- range splitList "," . -}}{{- $entries = append $entries (trim .) -}}{{- end -}}
{{ $entries | toJson }}
{{- end -}}

{{- define "headcount.checkKeys" -}}
{{- $settings := .Values.settings -}}
{{- $keys := include "headcount.jwtKeys" . -}}
{{- $addresses := 0 -}}{{- $files := 0 -}}{{- $remote := false -}}
{{- if $keys -}}
{{- range $index, $entry := include "headcount.entries" $keys | fromJsonArray -}}
{{- if regexMatch "^https://[^/?#@\\s]+([/?][^#\\s]*)?$" $entry -}}
{{- $addresses = add1 $addresses -}}{{- $remote = true -}}
{{- else if regexMatch "^http://(localhost|127\\.[0-9.]+|\\[::1\\])(:[0-9]+)?([/?][^#\\s]*)?$" $entry -}}
{{- $addresses = add1 $addresses -}}
{{- else if and (hasPrefix "/" $entry) (gt (len $entry) 1) (not (contains "://" $entry)) -}}
{{- $files = add1 $files -}}
{{- else -}}
{{- fail (printf "settings.jwtKeys: entry %d is neither an https address (http only on localhost) nor the path of a file that begins with /; it is not shown, since it may be a secret" (add1 $index)) -}}
{{- end -}}
{{- end -}}
{{- if gt (add $addresses $files) 16 -}}{{- fail "settings.jwtKeys and jwtSecret.keys have more than 16 entries" -}}{{- end -}}
{{- end -}}
{{- if and $addresses (not (and $settings.jwtIssuer $settings.jwtAudience)) -}}
{{- fail "settings.jwtKeys has an address: settings.jwtIssuer and settings.jwtAudience must be set, since an issuer signs tokens for others too" -}}
{{- end -}}
{{- if and $remote .Values.networkPolicy.enabled (not .Values.networkPolicy.issuers) -}}
{{- fail "settings.jwtKeys has an address that networkPolicy.issuers does not let the pods reach: name its peers" -}}
{{- end -}}
{{- if not (or $keys (include "headcount.keysFromElsewhere" .)) -}}
{{- range $name := list "jwtAlgorithms" "jwtAudience" "jwtIssuer" "jwtUserClaim" -}}
{{- $isDefault := and (eq $name "jwtUserClaim") (eq (get $settings $name | toString) "sub") -}}
{{- if and (get $settings $name) (not $isDefault) -}}
{{- fail (printf "settings.%s has no meaning without keys: settings.jwtKeys or jwtSecret" $name) -}}
{{- end -}}
{{- end -}}
{{- if not (has ($settings.signIn | default "off") (list "off")) -}}
{{- fail (printf "settings.signIn is %s, and nobody could sign in without keys: settings.jwtKeys or jwtSecret" $settings.signIn) -}}
{{- end -}}
{{- end -}}
{{- if and $keys (not $files) (contains "HS256" ($settings.jwtAlgorithms | default "")) -}}
{{- fail "settings.jwtAlgorithms has HS256, whose secret comes from a file, and there is none: jwtSecret" -}}
{{- end -}}
{{- with $settings.jwtUserClaim -}}
{{- if has . (list "iss" "aud" "exp" "nbf" "iat" "rooms" "info") -}}
{{- fail (printf "settings.jwtUserClaim is %s, which says something else of a token than whose it is" .) -}}
{{- end -}}
{{- end -}}
{{- with $settings.visitorSecretFile -}}
{{- if not (regexMatch "^/." .) -}}
{{- fail "settings.visitorSecretFile is not the path of a file that begins with /; it is not shown, since it may be the secret" -}}
{{- end -}}
{{- end -}}
{{- if and $settings.visitorSecretFile .Values.visitorSecret.existingSecret -}}
{{- fail "settings.visitorSecretFile and visitorSecret name two files: leave one out" -}}
{{- end -}}
{{- end -}}

{{- /* "yes" if a room may exist that both patterns allow. */ -}}
{{- define "headcount.overlap" -}}
{{- $one := first . -}}{{- $other := last . -}}
{{- $oneStart := trimSuffix "*" $one -}}{{- $otherStart := trimSuffix "*" $other -}}
{{- if and (hasSuffix "*" $one) (hasSuffix "*" $other) -}}
{{- if or (hasPrefix $oneStart $otherStart) (hasPrefix $otherStart $oneStart) -}}yes{{- end -}}
{{- else if hasSuffix "*" $one -}}
{{- if and (hasPrefix $oneStart $other) (ne $oneStart $other) -}}yes{{- end -}}
{{- else if hasSuffix "*" $other -}}
{{- if and (hasPrefix $otherStart $one) (ne $otherStart $one) -}}yes{{- end -}}
{{- else if eq $one $other -}}yes
{{- end -}}
{{- end -}}

{{- define "headcount.checkRooms" -}}
{{- $settings := .Values.settings -}}
{{- $allowed := include "headcount.entries" ($settings.rooms | default "/*") | fromJsonArray -}}
{{- $keyless := not (or (include "headcount.jwtKeys" .) (include "headcount.keysFromElsewhere" .)) -}}
{{- range $name := list "privateRooms" "lists" -}}
{{- $value := get $settings $name | default "none" -}}
{{- if ne $value "none" -}}
{{- if or $keyless (eq ($settings.signIn | default "") "off") -}}
{{- fail (printf "settings.%s needs tokens, and nobody can sign in: settings.jwtKeys or jwtSecret, and settings.signIn not off" $name) -}}
{{- end -}}
{{- $found := "" -}}
{{- range $entry := include "headcount.entries" $value | fromJsonArray -}}
{{- range $allowed -}}{{- $found = print $found (include "headcount.overlap" (list $entry .)) -}}{{- end -}}
{{- end -}}
{{- if not $found -}}
{{- fail (printf "settings.%s is %s, and settings.rooms allows none of these rooms" $name $value) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* The address may hold a password, so it is not shown. */ -}}
{{- define "headcount.checkRedis" -}}
{{- $redis := .Values.redis -}}
{{- if eq $redis.mode "url" -}}
{{- $user := "([^/?#@]*@)?" -}}{{- $host := "([A-Za-z0-9._-]+|\\[[0-9a-fA-F:.]+\\])(:[0-9]{1,5})?" -}}
{{- $server := printf "^rediss?://%s%s(/[0-9]*)?(\\?protocol=[a-z0-9]+)?$" $user $host -}}
{{- $sentinels := printf "^rediss?\\+sentinel://%s%s(,%s)*/[A-Za-z0-9._-]+(/[0-9]*)?(\\?[^@#]*)?$" $user $host $host -}}
{{- $isPort := true -}}
{{- range regexFindAll ":[0-9]+(/|,|\\?|$)" (regexReplaceAll "^.*@" $redis.url "") -1 -}}
{{- $port := regexFind "[0-9]+" . | int -}}
{{- if or (lt $port 1) (gt $port 65535) }}{{ $isPort = false }}{{ end -}}
{{- end -}}
{{- if not (and $isPort (or (regexMatch $server $redis.url) (regexMatch $sentinels $redis.url))) -}}
{{- fail "redis.url is no address such as redis://host:6379, rediss://user:password@host:6379/0 or redis+sentinel://user:password@host1,host2/name; write / in a password as %2F, ? as %3F, # as %23, @ as %40. It is not shown, since it may hold a password" -}}
{{- end -}}
{{- end -}}
{{- if and $redis.sentinel.sentinelUsername (not $redis.sentinel.sentinelPassword) -}}
{{- fail "redis.sentinel.sentinelUsername needs redis.sentinel.sentinelPassword" -}}
{{- end -}}
{{- end -}}

{{- /* What fits together, and no schema can say. */ -}}
{{- define "headcount.check" -}}
{{- $v := .Values -}}
{{- include "headcount.checkForms" . -}}
{{- include "headcount.checkDurations" . -}}
{{- include "headcount.checkKeys" . -}}
{{- include "headcount.checkRooms" . -}}
{{- include "headcount.checkRedis" . -}}
{{- if and (eq $v.redis.mode "none") (or $v.autoscaling.enabled (ne (int $v.replicas) 1)) -}}
{{- fail "redis.mode is none, with which each instance counts for itself: replicas must be 1, and autoscaling off" -}}
{{- end -}}
{{- if and (eq $v.redis.mode "none") (or $v.settings.key $v.settings.channel) -}}
{{- fail "redis.mode is none: settings.key and settings.channel have no meaning" -}}
{{- end -}}
{{- if and $v.settings.key (not $v.settings.channel) -}}
{{- fail "settings.key needs settings.channel beside it: channels ignore keys, so two clusters on one Redis would hear each other" -}}
{{- end -}}
{{- if and $v.settings.key (ne $v.settings.key "currentUsers") (eq $v.settings.channel "user count") -}}
{{- fail "settings.key needs another settings.channel than the default: channels ignore keys, so two clusters on one Redis would hear each other" -}}
{{- end -}}
{{- $most := include "headcount.maxConnections" . -}}
{{- if and $v.autoscaling.enabled $most (ge (int64 $v.autoscaling.connections) (int64 $most)) -}}
{{- fail (printf "autoscaling.connections is %d, but an instance takes %s sessions: it would be full before another one starts" (int64 $v.autoscaling.connections) $most) -}}
{{- end -}}
{{- if and $v.autoscaling.enabled (gt (int $v.autoscaling.minReplicas) (int $v.autoscaling.maxReplicas)) -}}
{{- fail "autoscaling.minReplicas is greater than autoscaling.maxReplicas" -}}
{{- end -}}
{{- if eq $v.ingress.kind "gateway" -}}
{{- if and (eq $v.ingress.gateway.stickiness "none") (ne ($v.settings.transports | default "") "websocket") -}}
{{- fail "ingress.gateway.stickiness is none: polling sessions would break, so settings.transports must be websocket" -}}
{{- end -}}
{{- if $v.ingress.limits.enabled -}}
{{- fail "ingress.limits: the Gateway API has no limits of its own; use a policy of your Gateway's kind" -}}
{{- end -}}
{{- end -}}
{{- end -}}
