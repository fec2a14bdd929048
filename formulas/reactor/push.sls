# The master knows of a push (from its engine, which watches the spool and the branch): build it.
pillarbox_push:
  runner.state.orchestrate:
  - args:
    - mods: orch.build
