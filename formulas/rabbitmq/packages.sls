{%- from "install.jinja" import install with context %}
{{ install(
  account='rabbitmq', uid=903, home='/var/lib/rabbitmq',
  packages=['rabbitmq-server'],
  without=['/usr/share/javascript/*'],
  loads={'server': ['/usr/lib/rabbitmq/bin/rabbitmq-server', '/usr/bin/erl']},
) }}

# Neither a cookie nor a node's data may be the same in two containers.
rabbitmq_clean:
  cmd.run:
  - name: rm -rf /var/lib/rabbitmq/.erlang.cookie /var/lib/rabbitmq/mnesia /etc/rabbitmq/rabbitmq-env.conf
  - require:
    - cmd: packages
