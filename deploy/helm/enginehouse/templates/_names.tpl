{{- define "enginehouse.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{- define "enginehouse.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "enginehouse.labels" -}}
{{ include "enginehouse.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
{{- end -}}

{{/* The image of a flavour: (dict "root" $ "flavour" "cpu"). */}}
{{- define "enginehouse.image" -}}
{{ .root.Values.image.repository }}:{{ .root.Values.image.tag | default .root.Chart.AppVersion }}-{{ .flavour }}
{{- end -}}

{{/* An engine with what it does not say itself, as JSON: (dict "root" $ "engine" .). */}}
{{- define "enginehouse.engine" -}}
{{- mustMergeOverwrite (deepCopy .root.Values.engineDefaults) (deepCopy .engine) | toJson -}}
{{- end -}}

{{/* How many pods an engine may come to have. */}}
{{- define "enginehouse.most" -}}
{{- if .autoscaling.enabled }}{{ int .autoscaling.maxReplicas }}{{ else }}{{ int .replicas }}{{ end -}}
{{- end -}}
