{%- set cluster = pillar.keepalived.cluster %}
{%- set checks, interfaces = [], {} %}
{%- for name, instance in cluster.get('instance', {}) | dictsort if instance.get('enabled', true) %}
{%- set place = 'keepalived:cluster:instance:' ~ name %}
{%- if cluster.name not in instance.members %}
{{- raise(place ~ ':members has no ' ~ cluster.name ~ ', found: ' ~ instance.members | join(', ')) }}
{%- endif %}
{%- if instance.interface is defined %}
{%- do interfaces.update({name: instance.interface}) %}
{%- endif %}
{%- for interface, addresses in grains.get('ip4_interfaces', {}).items() if instance.members[cluster.name] in addresses and name not in interfaces %}
{%- do interfaces.update({name: interface}) %}
{%- endfor %}
{%- if name not in interfaces %}
{{- raise(place ~ ': no interface has ' ~ instance.members[cluster.name] ~ '; its name can be given as interface') }}
{%- endif %}
{%- if instance.check is defined %}
{%- do checks.append(name) %}
{%- endif %}
{%- endfor %}

keepalived_cluster_unit:
  file.managed:
  - name: /etc/systemd/system/keepalived.service.d/pillarbox.conf
  - source: salt://keepalived/files/keepalived.service.conf
  - makedirs: true

# It needs no new start.
keepalived_cluster_unit_read:
  cmd.run:
  - name: systemctl daemon-reload
  - onchanges:
    - file: keepalived_cluster_unit

keepalived_cluster_packages:
  pkg.installed:
  - pkgs:
    - keepalived
    {%- if checks %}
    - curl
    {%- endif %}
  - install_recommends: false
  - require:
    - cmd: keepalived_cluster_unit_read

# Nothing of the kernel's own load balancer is used.
keepalived_cluster_arguments:
  file.managed:
  - name: /etc/default/keepalived
  - contents: |
      # This file is managed by Salt.
      DAEMON_ARGS="--vrrp"
  - require:
    - pkg: keepalived_cluster_packages

keepalived_cluster_config:
  file.managed:
  - name: /etc/keepalived/keepalived.conf
  - source: salt://keepalived/files/keepalived.conf
  - template: jinja
  - context:
      cluster: {{ cluster | json }}
      interfaces: {{ interfaces | json }}
  - require:
    - pkg: keepalived_cluster_packages

keepalived_cluster_service:
  service.running:
  - name: keepalived
  - enable: true
  - reload: true
  - require:
    - file: keepalived_cluster_arguments
  - watch:
    - file: keepalived_cluster_config
