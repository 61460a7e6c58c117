{{/* At most 40 characters: the operator makes the names of pods and Services from it. */}}
{{- define "foz-cluster.name" -}}
{{- default .Release.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "foz-cluster.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: foz
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* A volume without an empty class name, which would mean "no class" to Kubernetes. */}}
{{- define "foz-cluster.storage" -}}
size: {{ .size | quote }}
{{- with .className }}
className: {{ . | quote }}
{{- end }}
{{- end }}

{{/* The volumes of a broker. */}}
{{- define "foz-cluster.brokerStorage" -}}
{{- include "foz-cluster.storage" . }}
{{- with .volumes }}
volumes:
  {{- range . }}
  - id: {{ .id }}
    {{- include "foz-cluster.storage" . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}
