{%- from "install.jinja" import install with context %}
{#- No mariadb-server: it brings init scripts and a database made while the image is built. mariadb-client has the dump. -#}
{{ install(
  account='mysql', uid=902, home='/var/lib/mysql',
  packages=['mariadb-server-core', 'mariadb-client-core', 'mariadb-client'],
  without=['perl', 'libconfig-inifiles-perl',
           '/usr/bin/innotop', '/usr/bin/mariadb-admin', '/usr/bin/mariadb-conv', '/usr/bin/mariadb-import',
           '/usr/bin/mariadb-plugin', '/usr/bin/mariadb-show', '/usr/bin/mariadb-tzinfo-to-sql',
           '/usr/bin/mariadb-waitpid', '/usr/bin/perror', '/usr/bin/replace', '/usr/bin/resolve_stack_dump',
           '/usr/bin/mariadb-binlog', '/usr/bin/mysqlbinlog', '/usr/bin/mariadb-slap', '/usr/bin/mysqlslap',
           '/usr/share/mysql/mysql-test/*'],
  loads={
    'server': ['/usr/sbin/mariadbd', '/usr/bin/mariadb', '/usr/bin/mariadb-dump'],
    'database': ['/usr/bin/python3', '/usr/bin/mariadb'],
    'retire': ['/usr/bin/python3', '/usr/bin/mariadb'],
    'administrator': ['/usr/bin/python3', '/usr/bin/mariadb'],
  },
) }}
