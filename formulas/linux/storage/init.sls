{%- for name, mount in pillar.linux.storage.get('mount', {}).items() if mount.get('enabled', true) %}
{%- if mount.file_system in ('nfs', 'nfs4') %}
linux_storage_mount_{{ name }}_package:
  pkg.installed:
  - name: nfs-common
  - install_recommends: false
  - require_in:
    - mount: linux_storage_mount_{{ name }}
{%- endif %}

linux_storage_mount_{{ name }}:
  mount.mounted:
  - name: {{ mount.path }}
  - device: {{ mount.device }}
  - fstype: {{ mount.file_system }}
  - opts: {{ mount.get('options', 'defaults') }}
  - mkmnt: true
  - persist: true
{%- endfor %}
