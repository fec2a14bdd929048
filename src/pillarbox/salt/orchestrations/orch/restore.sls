# Brings back data from a backup, by default the newest that has it; `pillarbox backups` lists them.
#   salt-run state.orchestrate orch.restore pillar='{"data": "…", "dry_run": true}'
#   salt-run state.orchestrate orch.restore pillar='{"data": "…", "backup": "…"}'
pillarbox_restore:
  salt.runner:
  - name: pillarbox.restore
  - data: {{ salt['pillar.get']('data', '') | json }}
  - backup: {{ salt['pillar.get']('backup', none) | json }}
  - dry_run: {{ salt['pillar.get']('dry_run', false) | json }}
