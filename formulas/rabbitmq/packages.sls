# The stage of the image that installs: sees nothing but pillar `image`, so that configuration never reaches it.

# A number of its own, the same in every release: files on volumes and in Secrets outlive an image.
rabbitmq_group:
  group.present:
  - name: rabbitmq
  - gid: 903
  - system: true

rabbitmq_user:
  user.present:
  - name: rabbitmq
  - uid: 903
  - gid: 903
  - system: true
  - home: /var/lib/rabbitmq
  - createhome: false
  - shell: /usr/sbin/nologin
  - require:
    - group: rabbitmq_group

rabbitmq_packages:
  cmd.run:
  - name: apt-get update -qq && apt-get install -y -qq --no-install-recommends rabbitmq-server
  - require:
    - user: rabbitmq_user

# Neither a cookie nor a node's data may be the same in two containers.
rabbitmq_clean:
  cmd.run:
  - name: |
      rm -rf /var/lib/rabbitmq/.erlang.cookie /var/lib/rabbitmq/mnesia /etc/rabbitmq/rabbitmq-env.conf
      rm -rf /usr/share/javascript /usr/share/perl
  - require:
    - cmd: rabbitmq_packages
