{#- Applied by `salt-run pillarbox.collect` after it has deleted images (pillarbox:collect), and never by a highstate. #}
{%- set directory = pillar.registry.server.get('storage', {}).get('directory', '/var/lib/docker-registry') %}

registry_collect:
  cmd.script:
  - source: salt://registry/files/collect
  - args: docker-registry {{ directory }}
