{%- from 'kubernetes/map.jinja' import answers, pki, certificate, authority, kubeconfig, unit with context %}
{%- set master = pillar.kubernetes.master %}
{%- set apiserver = master.apiserver %}
{%- set etcd = [] %}
{%- for member in master.etcd.members %}
{%- do etcd.append('https://' ~ member.host ~ ':' ~ member.get('port', 2379)) %}
{%- endfor %}
{%- set serial = pillar.pki.get('key', {}).get('kubernetes-encryption', {}).get('serial', 1) if not master.get('encryption', {}).get('key') else 1 %}
{#- Each would do the same work as the others, at the same time. #}
{%- set members = salt['pillar.get']('etcd:server:members', {}) %}
{%- for role in ('controller_manager', 'scheduler') if members | length > 1 and not master.get(role, {}).get('leader_elect', true) %}
{{- raise('kubernetes:master:' ~ role ~ ':leader_elect is false, and there are several masters: ' ~ members | sort | join(', ')
  ~ '. The class service.kubernetes.master.cluster has one of them elected') }}
{%- endfor %}
{%- set at_rest = '/usr/local/lib/kubernetes/secrets-at-rest' %}
{%- set local = 'https://' ~ apiserver.address ~ ':' ~ apiserver.get('port', 6443) %}
include:
- kubernetes.program
- etcd.program

{{ authority('ca', 'kubernetes-apiserver') }}
{{ authority('etcd-ca', 'kubernetes-apiserver-etcd') }}
{%- for name in ('kubernetes-apiserver', 'kubernetes-apiserver-kubelet', 'kubernetes-apiserver-etcd', 'kubernetes-controller-manager', 'kubernetes-scheduler') %}
{{ certificate(name) }}
{%- endfor %}

kubernetes_pki_service_account_key:
  file.managed:
  - name: {{ pki }}/service-account.key
  - contents_pillar: pki:key:kubernetes-service-account:key
  - mode: '0600'
  - makedirs: true
  - dir_mode: '0755'
  - show_changes: false

kubernetes_pki_service_account_public:
  file.managed:
  - name: {{ pki }}/service-account.pub
  - contents_pillar: pki:key:kubernetes-service-account:public
  - mode: '0644'
  - makedirs: true
  - dir_mode: '0755'

kubernetes_master_at_rest:
  file.managed:
  - name: {{ at_rest }}
  - source: salt://kubernetes/files/secrets-at-rest
  - mode: '0755'
  - makedirs: true

kubernetes_master_encryption:
  file.managed:
  - name: /etc/kubernetes/encryption.yml
  - source: salt://kubernetes/files/encryption.yml
  - template: jinja
  - mode: '0600'
  - makedirs: true
  - dir_mode: '0755'
  - show_changes: false
  # No key goes with which a Secret could still be encrypted.
  - check_cmd: {{ at_rest }} --known {{ etcd | join(',') }}
  - require:
    - file: program_binary_etcdctl
    - file: kubernetes_master_at_rest
    - file: kubernetes_pki_etcd-ca
    - file: kubernetes_pki_kubernetes-apiserver-etcd_crt
    - file: kubernetes_pki_kubernetes-apiserver-etcd_key

{%- if master.get('audit', {}).get('enabled') %}
kubernetes_master_audit:
  file.managed:
  - name: /etc/kubernetes/audit.yml
  - source: salt://kubernetes/files/audit.yml
  - template: jinja
  - mode: '0600'
  - makedirs: true
  - dir_mode: '0755'
  - watch_in:
    - service: kubernetes_service_kube-apiserver
{%- endif %}

{{ kubeconfig('controller-manager', 'kubernetes-controller-manager', local) }}
{{ kubeconfig('scheduler', 'kubernetes-scheduler', local) }}

{%- for name, owns in (
  ('kube-apiserver', ['kubernetes_pki_ca', 'kubernetes_pki_etcd-ca', 'kubernetes_pki_kubernetes-apiserver_crt', 'kubernetes_pki_kubernetes-apiserver_key',
    'kubernetes_pki_kubernetes-apiserver-kubelet_crt', 'kubernetes_pki_kubernetes-apiserver-kubelet_key', 'kubernetes_pki_kubernetes-apiserver-etcd_crt',
    'kubernetes_pki_kubernetes-apiserver-etcd_key', 'kubernetes_pki_service_account_key', 'kubernetes_pki_service_account_public', 'kubernetes_master_encryption']),
  ('kube-controller-manager', ['kubernetes_pki_ca', 'kubernetes_pki_kubernetes-controller-manager_crt', 'kubernetes_pki_kubernetes-controller-manager_key',
    'kubernetes_pki_service_account_key', 'kubernetes_kubeconfig_controller-manager']),
  ('kube-scheduler', ['kubernetes_pki_ca', 'kubernetes_pki_kubernetes-scheduler_crt', 'kubernetes_pki_kubernetes-scheduler_key', 'kubernetes_kubeconfig_scheduler']),
) %}
{{ unit(name, {'master': master, 'pki': pki}) }}

kubernetes_service_{{ name }}:
  service.running:
  - name: {{ name }}
  - enable: true
  {%- if name != 'kube-apiserver' %}
  # They end where the API server does not know their rights yet, and are found dead then.
  - require:
    - cmd: kubernetes_master_ready
  {%- endif %}
  - watch:
    - file: program_binary_{{ name }}
    - file: kubernetes_unit_{{ name }}
    {%- for owned in owns %}
    - file: {{ owned }}
    {%- endfor %}
{%- endfor %}

kubernetes_master_admin:
  file.managed:
  - name: /etc/kubernetes/admin.conf
  - source: salt://kubernetes/files/kubeconfig-embedded
  - template: jinja
  - mode: '0600'
  - makedirs: true
  - dir_mode: '0755'
  - show_changes: false
  - context:
      server: {{ local }}
      certificate: kubernetes-admin

# A highstate that ends well means an apiserver that answers, not a process that was started.
kubernetes_master_ready:
  cmd.run:
  - name: >-
      timeout {{ master.get('timeout', 120) }} sh -c 'until kubectl --kubeconfig /etc/kubernetes/admin.conf get --raw /readyz; do sleep 1; done'
  - unless: kubectl --kubeconfig /etc/kubernetes/admin.conf --request-timeout 5s get --raw /readyz
  - require:
    - service: kubernetes_service_kube-apiserver
    - file: kubernetes_master_admin
    - file: program_binary_kubectl

{%- for role, component, port in (('controller_manager', 'kube-controller-manager', 10257), ('scheduler', 'kube-scheduler', 10259)) %}
{%- set given = master.get(role, {}).get('arguments', {}) %}
{%- set bound, port = given.get('bind-address', '127.0.0.1'), given.get('secure-port', port) %}
{%- set server = 'https://' ~ ('[' ~ bound ~ ']' if ':' in bound else bound) ~ ':' ~ port %}
{%- set own = pki ~ '/' ~ component | replace('kube-', 'kubernetes-') %}
{%- set alive = 'kubectl --kubeconfig /dev/null --client-certificate ' ~ own ~ '.crt --client-key ' ~ own ~ '.key'
    ~ ' --insecure-skip-tls-verify --server ' ~ server ~ ' --request-timeout 5s get --raw /healthz 2>/dev/null' %}
{%- if port | string != '0' %}
{{ answers('kubernetes_master_' ~ role ~ '_answers', component, alive, master.get('timeout', 120)) }}
{%- endif %}
{%- endfor %}

{%- for role, component in (('controller_manager', 'kube-controller-manager'), ('scheduler', 'kube-scheduler')) if master.get(role, {}).get('leader_elect', true) %}

# The one that was restarted may have led: until its lease ends, nobody else does its work, and a pod that goes is still
# sent requests. The lease that somebody renews is a leader's who works.
kubernetes_master_{{ role }}_leads:
  cmd.run:
  - name: |
      renewed() { kubectl --kubeconfig /etc/kubernetes/admin.conf --request-timeout 5s -n kube-system get lease {{ component }} -o 'jsonpath={.spec.renewTime}'; }
      export -f renewed
      before=$(renewed) timeout {{ master.get('timeout', 120) }} bash -c 'until now=$(renewed) && [ "$now" != "$before" ]; do sleep 1; done'
  - shell: /bin/bash
  - onchanges:
    - service: kubernetes_service_{{ component }}
  - require:
    - cmd: kubernetes_master_ready
{%- endfor %}

# The key may be a new one, and what was written before stays as it is until it is written again.
kubernetes_master_secrets:
  cmd.run:
  - name: {{ at_rest }} {{ etcd | join(',') }} key{{ serial }}
  - unless: {{ at_rest }} --check {{ etcd | join(',') }} key{{ serial }}
  - require:
    - cmd: kubernetes_master_ready
