{%- set proxy = pillar.haproxy.proxy %}
{%- set pki = '/etc/haproxy/pki' %}
{%- set certificates = [] %}
{%- for name, listen in proxy.get('listen', {}) | dictsort if listen.get('check', {}).certificate is defined %}
{%- do certificates.append(listen.check.certificate) %}
{%- endfor %}

haproxy_proxy_unit:
  file.managed:
  - name: /etc/systemd/system/haproxy.service.d/pillarbox.conf
  - source: salt://haproxy/files/haproxy.service.conf
  - makedirs: true

# It needs no new start of the proxy.
haproxy_proxy_unit_read:
  cmd.run:
  - name: systemctl daemon-reload
  - onchanges:
    - file: haproxy_proxy_unit

haproxy_proxy_packages:
  pkg.installed:
  - pkgs:
    - haproxy
  - install_recommends: false
  - require:
    - cmd: haproxy_proxy_unit_read

haproxy_proxy_pki:
  file.directory:
  - name: {{ pki }}
  - makedirs: true
  - mode: '0700'
  - require:
    - pkg: haproxy_proxy_packages

{%- for name in certificates | unique %}
{#- The proxy looks for the key of a certificate beside it. #}
{%- for file, part in ((name ~ '.crt', 'certificate'), (name ~ '.crt.key', 'key'), (name ~ '-ca.crt', 'ca_certificate')) %}

haproxy_proxy_{{ file }}:
  file.managed:
  - name: {{ pki }}/{{ file }}
  - contents_pillar: pki:certificate:{{ name }}:{{ part }}
  - mode: '0600'
  - show_changes: false
  - require:
    - file: haproxy_proxy_pki
  - require_in:
    - file: haproxy_proxy_config
  - watch_in:
    - service: haproxy_proxy_service
{%- endfor %}
{%- endfor %}

# One that the proxy would not take is not written.
haproxy_proxy_config:
  file.managed:
  - name: /etc/haproxy/haproxy.cfg
  - source: salt://haproxy/files/haproxy.cfg
  - template: jinja
  - check_cmd: haproxy -c -q -f
  - context:
      proxy: {{ proxy | json }}
      pki: {{ pki }}
  - require:
    - pkg: haproxy_proxy_packages

# New connections are taken all the time; those that are there have some seconds.
haproxy_proxy_service:
  service.running:
  - name: haproxy
  - enable: true
  - reload: true
  - watch:
    - file: haproxy_proxy_config
