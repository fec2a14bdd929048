{%- from "install.jinja" import install with context %}
{#- The -core packages alone: the others bring init scripts, Perl and a database made while the image is built. -#}
{{ install(
  account='mysql', uid=902, home='/var/lib/mysql',
  packages=['mariadb-server-core', 'mariadb-client-core'],
  without=['/usr/bin/mariadb-binlog', '/usr/bin/mysqlbinlog', '/usr/bin/mariadb-slap', '/usr/bin/mysqlslap',
           '/usr/share/mysql/mysql-test/*'],
  loads={
    'server': ['/usr/sbin/mariadbd', '/usr/bin/mariadb'],
    'database': ['/usr/bin/python3', '/usr/bin/mariadb'],
    'retire': ['/usr/bin/python3', '/usr/bin/mariadb'],
    'administrator': ['/usr/bin/python3', '/usr/bin/mariadb'],
  },
) }}
