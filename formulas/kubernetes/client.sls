{%- set client = pillar.kubernetes.client %}
{%- set name = client.get('certificate', 'kubernetes-admin') %}
include:
- kubernetes.program

kubernetes_client_kubeconfig:
  file.managed:
  - name: {{ client.get('kubeconfig', '/etc/kubernetes/admin.conf') }}
  - source: salt://kubernetes/files/kubeconfig-embedded
  - template: jinja
  - mode: '0600'
  - makedirs: true
  - dir_mode: '0755'
  - show_changes: false
  - context:
      server: https://{{ client.apiserver.host }}:{{ client.apiserver.get('port', 6443) }}
      certificate: {{ name }}

kubernetes_client_default:
  file.symlink:
  - name: /root/.kube/config
  - target: {{ client.get('kubeconfig', '/etc/kubernetes/admin.conf') }}
  - makedirs: true
  - require:
    - file: kubernetes_client_kubeconfig
