{{/* The names are fixed: the admission policies have fixed names too, so there is one Residency in a cluster. */}}
{{- define "residency.selectorLabels" -}}
app.kubernetes.io/name: residency
app.kubernetes.io/component: controller
{{- end }}

{{- define "residency.labels" -}}
{{ include "residency.selectorLabels" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "residency.image" -}}
{{- $tag := .Values.image.tag | default .Chart.AppVersion -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ $tag }}
{{- end -}}
{{- end }}

{{/*
The names of the compiled admission policies and of their bindings: PolicyName in operator/residency/api/names.py.
A test holds the two together.
*/}}
{{- define "residency.mutatingPolicies" -}}
- residency-place-pods
- residency-place-annotated-pods
- residency-place-daemonsets
- residency-place-annotated-daemonsets
- residency-default-namespaces
{{- end }}

{{- define "residency.validatingPolicies" -}}
- residency-guard-pods
- residency-guard-annotated-pods
- residency-guard-templates
- residency-guard-annotated-templates
- residency-guard-namespaces
- residency-guard-classifications
- residency-guard-nodes
- residency-guard-bindings
- residency-guard-annotations
- residency-warn-pods
- residency-warn-annotated-pods
- residency-warn-templates
- residency-warn-annotated-templates
- residency-warn-claims
- residency-warn-bindings
- residency-audit-pods
- residency-audit-annotated-pods
- residency-audit-templates
- residency-audit-annotated-templates
- residency-audit-claims
- residency-audit-bindings
- residency-guard-claims
- residency-guard-volumes
- residency-guard-storage-classes
{{- end }}

{{/* What a schema cannot say of one value, because it concerns two. */}}
{{- define "residency.validate" -}}
{{- $own := .Release.Namespace -}}
{{- $canary := .Values.canaryNamespace -}}
{{- if has $canary (list $own "kube-system" "default") -}}
{{- fail (printf "canaryNamespace: %q is in use for something else; name a namespace of its own, such as residency-canary" $canary) -}}
{{- end -}}
{{- if has $canary .Values.excludedNamespaces -}}
{{- fail (printf "excludedNamespaces: %q is the canaryNamespace, where the policies must be seen at work; remove it" $canary) -}}
{{- end -}}
{{- $name := "[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?" -}}
{{- $dns := "[a-z0-9]([-a-z0-9]*[a-z0-9])?" -}}
{{- $key := printf "(%s(\\.%s)*/)?%s" $dns $dns $name -}}
{{- $list := printf "\\( *%s *(, *%s *)*\\)" $name $name -}}
{{- $one := printf " *(! *%s|%s( *(==?|!=) *(%s)?| +(in|notin) *%s)?) *" $key $key $name $list -}}
{{- range .Values.defaultClassification.excludeSelectors -}}
{{- if not (regexMatch (printf "^%s(,%s)*$" $one $one) .) -}}
{{- fail (printf "defaultClassification.excludeSelectors: %q is not a label selector, such as team in (ci, sandbox),!tenant" .) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Say at once, and in words, what the API server would say of an unknown kind. Takes the context and the value's name. */}}
{{- define "residency.needsPrometheusOperator" -}}
{{- $context := index . 0 -}}
{{- if not ($context.Capabilities.APIVersions.Has "monitoring.coreos.com/v1") -}}
{{- fail (printf "%s: this cluster does not serve monitoring.coreos.com/v1; install the Prometheus Operator's CRDs first, or, where you render without a cluster, add --api-versions monitoring.coreos.com/v1" (index . 1)) -}}
{{- end -}}
{{- end }}
