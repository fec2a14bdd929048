{%- set repository = pillar.pillarbox.repository %}
{%- set directory = repository.get('directory', '/srv/pillarbox/model.git') %}
{%- set user = repository.get('user', 'git') %}
{%- set home = repository.get('home', '/srv/pillarbox/home') %}
{%- set prefix = repository.get('prefix', '/opt/salt') %}

pillarbox_repository_packages:
  pkg.installed:
  - pkgs:
    - git
    - openssh-server
  - install_recommends: false

pillarbox_repository_user:
  user.present:
  - name: {{ user }}
  - system: true
  - usergroup: true
  - home: {{ home }}
  - createhome: true
  - shell: /usr/bin/git-shell
  - require:
    - pkg: pillarbox_repository_packages

# Secrets of the master's side: what was issued, and records of runs.
pillarbox_state:
  file.directory:
  - name: /var/lib/pillarbox
  - mode: '0700'

pillarbox_cache:
  file.directory:
  - name: /var/cache/pillarbox
  - mode: '0755'

pillarbox_root:
  file.directory:
  - name: /srv/pillarbox
  - mode: '0755'

{#- What the master alone reads, what pushers may read, and where the hooks, as the repository's owner, leave a note. #}
{%- for name, mode, group in (('published', '0700', 'root'), ('staging', '0700', 'root'), ('progress', '0755', 'root'), ('spool', '0730', user)) %}
pillarbox_{{ name }}:
  file.directory:
  - name: /srv/pillarbox/{{ name }}
  - user: root
  - group: {{ group }}
  - mode: '{{ mode }}'
  - require:
    - file: pillarbox_root
    - user: pillarbox_repository_user
{%- endfor %}

pillarbox_repository:
  cmd.run:
  - name: git init --quiet --bare --initial-branch={{ repository.get('branch', 'main') }} {{ directory }} && chown -R {{ user }}:{{ user }} {{ directory }}
  - umask: '077'
  - unless: test -f {{ directory }}/HEAD && test "$(stat -c %U {{ directory }}/HEAD)" = {{ user }}
  - require:
    - user: pillarbox_repository_user
    - file: pillarbox_published

{%- for section, values in ({'receive': {'fsckObjects': 'true'}, 'core': {'logAllRefUpdates': 'true'}}).items() %}
{%- for name, value in values.items() %}
pillarbox_repository_{{ section }}_{{ name }}:
  cmd.run:
  - name: git config --file {{ directory }}/config {{ section }}.{{ name }} {{ value }} && chown {{ user }}:{{ user }} {{ directory }}/config
  - unless: test "$(git config --file {{ directory }}/config {{ section }}.{{ name }})" = {{ value }} && test "$(stat -c %U {{ directory }}/config)" = {{ user }}
  - runas: root
  - require:
    - cmd: pillarbox_repository
{%- endfor %}
{%- endfor %}

{%- for hook in ('pre-receive', 'post-receive') %}
pillarbox_repository_{{ hook }}:
  file.managed:
  - name: {{ directory }}/hooks/{{ hook }}
  - contents: |
      #!/bin/sh
      exec {{ prefix }}/bin/pillarbox hook {{ hook }}
  - mode: '0755'
  - require:
    - cmd: pillarbox_repository
{%- endfor %}

# For people the repository is what lies in the account's home: git clone cfg01:model.git
pillarbox_repository_short:
  file.symlink:
  - name: {{ home }}/{{ directory.rsplit('/', 1)[-1] }}
  - target: {{ directory }}
  # Git looks at the link's own owner.
  - user: {{ user }}
  - group: {{ user }}
  - require:
    - cmd: pillarbox_repository

pillarbox_repository_keys:
  file.managed:
  - name: /etc/ssh/authorized_keys.d/{{ user }}
  - makedirs: true
  - mode: '0644'
  - source: salt://pillarbox/files/authorized_keys
  - template: jinja
  - context:
      keys: {{ repository.get('authorized_keys', []) | json }}
  - require:
    - pkg: pillarbox_repository_packages

pillarbox_repository_sshd:
  file.managed:
  - name: /etc/ssh/sshd_config.d/pillarbox.conf
  - source: salt://pillarbox/files/sshd.conf
  - template: jinja
  - makedirs: true
  - context:
      user: {{ user }}
      address: {{ repository.get('bind', {}).get('address', '0.0.0.0') }}
      keys_file: {{ repository.get('authorized_keys_file', '') | json }}
  - require:
    - pkg: pillarbox_repository_packages

pillarbox_repository_sshd_service:
  service.running:
  - name: ssh
  - enable: true
  - watch:
    - file: pillarbox_repository_sshd
