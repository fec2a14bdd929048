{%- set client = pillar.registry.client %}
{%- set users = {} %}
{%- for name, registry in client.get('registry', {}).items() %}
{%- for user, account in registry.get('account', {}).items() %}
{%- do users.update({user: account.get('home', '/root' if user == 'root' else '/home/' ~ user)}) %}
{%- endfor %}
{%- if registry.authority is defined %}

# Where Docker looks, and Pillarbox. Everybody may read it.
registry_client_{{ name }}_authority:
  file.managed:
  - name: /etc/docker/certs.d/{{ registry.address }}/ca.crt
  - contents_pillar: pki:authority:{{ registry.authority }}:certificate
  - makedirs: true
  - mode: '0644'
{%- endif %}
{%- endfor %}

{%- for user, home in users | dictsort %}

registry_client_{{ user }}_config:
  file.managed:
  - name: {{ home }}/.docker/config.json
  - source: salt://registry/files/config.json
  - template: jinja
  - context:
      user: {{ user | json }}
  - user: {{ user }}
  - mode: '0600'
  - makedirs: true
  - dir_mode: '0755'
  - show_changes: false
  # The user may be made by any other formula.
  - order: last
{%- endfor %}
