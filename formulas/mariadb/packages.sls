# The stage of the image that installs: sees nothing but pillar `image`, so that configuration never reaches it.
# The -core packages alone: the others bring init scripts, Perl and a database made while the image is built.

# A number of its own, the same in every release: the files of a database outlive an image.
mariadb_group:
  group.present:
  - name: mysql
  - gid: 902
  - system: true

mariadb_user:
  user.present:
  - name: mysql
  - uid: 902
  - gid: 902
  - system: true
  - home: /var/lib/mysql
  - createhome: false
  - shell: /usr/sbin/nologin
  - require:
    - group: mariadb_group

mariadb_packages:
  cmd.run:
  - name: apt-get update -qq && apt-get install -y -qq --no-install-recommends mariadb-server-core mariadb-client-core
  - require:
    - user: mariadb_user

mariadb_unneeded:
  cmd.run:
  - name: |
      rm -f /usr/bin/mariadb-binlog /usr/bin/mysqlbinlog /usr/bin/mariadb-slap /usr/bin/mysqlslap
      rm -rf /usr/share/mysql/mysql-test /usr/share/perl
  - require:
    - cmd: mariadb_packages
