{{/* What all pods have: nobody's rights, and no token. */}}
{{- define "enginehouse.podSecurity" -}}
serviceAccountName: {{ include "enginehouse.fullname" . }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- end -}}

{{- define "enginehouse.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end -}}

{{/* Where pods go: (dict of nodeSelector, tolerations, affinity). */}}
{{- define "enginehouse.where" -}}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Seconds until a pod is killed: those in which Services forget it, those of the drain, and some for engines to end. */}}
{{- define "enginehouse.graceSeconds" -}}
{{- $server := .Values.config.server | default dict -}}
{{- $drain := 30.0 -}}
{{- if hasKey $server "drain_timeout_s" }}{{ $drain = $server.drain_timeout_s }}{{ end -}}
{{ add 20 (ceil $drain) }}
{{- end -}}

{{- define "enginehouse.liveness" -}}
startupProbe:
  httpGet: {path: /health, port: http}
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /health, port: http}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
{{- end -}}

{{/* The environment variable of the fleet's key. */}}
{{- define "enginehouse.fleetKeyEnv" -}}
- name: FLEET_KEY
  valueFrom:
    secretKeyRef:
      name: {{ .Values.fleetKey.existingSecret | default (printf "%s-fleet" (include "enginehouse.fullname" .)) }}
      key: {{ .Values.fleetKey.secretKey }}
{{- end -}}
