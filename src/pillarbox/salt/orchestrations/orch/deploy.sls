# Deploys: states of the hosts that change, then the cluster in waves, then the report.
#   salt-run state.orchestrate orch.deploy
#   salt-run state.orchestrate orch.deploy pillar='{"revision": "…", "dry_run": true}'
# Rendering this decides and does nothing. Which hosts change is known when the state runs, under the lock that keeps
# builds and other deploys out until the report.
pillarbox_deploy:
  salt.runner:
  - name: pillarbox.deploy
  - revision: {{ salt['pillar.get']('revision', none) | json }}
  - dry_run: {{ salt['pillar.get']('dry_run', false) | json }}
  - hosts: true
  - backup: {{ salt['pillar.get']('backup', true) | json }}
