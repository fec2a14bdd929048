# Backs up all that the model says how to back up: salt-run state.orchestrate orch.backup
#   salt-run state.orchestrate orch.backup pillar='{"only": ["NAME"]}'
pillarbox_backup:
  salt.runner:
  - name: pillarbox.backup
  - only: {{ salt['pillar.get']('only', none) | json }}
