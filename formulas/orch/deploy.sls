# Deploys: states of the hosts that change, then the cluster in waves, then the report.
#   salt-run state.orchestrate orch.deploy
#   salt-run state.orchestrate orch.deploy pillar='{"revision": "…", "dry_run": true}'
{%- set dry_run = salt['pillar.get']('dry_run', false) %}
{%- set ready = salt['saltutil.runner']('pillarbox.prepare',
                                        kwarg={'revision': salt['pillar.get']('revision', none), 'dry_run': dry_run}) %}
{%- if ready is not mapping or ready.error %}

pillarbox_prepare:
  test.fail_without_changes:
  - name: the revision cannot be deployed
  - comment: {{ (ready.error if ready is mapping else ready) | json }}
{%- else %}
{%- set hosts = ready.hosts + ready.masters %}
{%- set steps = [] %}
{%- for step, targets in (('pillarbox_hosts', ready.hosts), ('pillarbox_masters', ready.masters)) if targets %}

{{ step }}:
  salt.state:
  - tgt: {{ targets | json }}
  - tgt_type: list
  - highstate: true
  {%- if dry_run %}
  - test: true
  {%- elif steps %}
  - require:
    - salt: {{ steps[0] }}
  {%- endif %}
  {%- do steps.append(step) %}
{%- endfor %}
{%- if steps and not dry_run %}

# Without this the deploy would end without a report. It fails, too: a handled failure would count as a success.
pillarbox_hosts_failed:
  salt.runner:
  - name: pillarbox.hosts_failed
  - revision: {{ ready.revision }}
  - hosts: {{ hosts | json }}
  - onfail_any:
    {%- for step in steps %}
    - salt: {{ step }}
    {%- endfor %}
{%- endif %}

pillarbox_deploy:
  salt.runner:
  - name: pillarbox.deploy
  - revision: {{ ready.revision }}
  - dry_run: {{ dry_run | json }}
  - hosts: {{ hosts | json }}
  {%- if steps and not dry_run %}
  - require:
    {%- for step in steps %}
    - salt: {{ step }}
    {%- endfor %}
  {%- endif %}
{%- endif %}
