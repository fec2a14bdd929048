{%- from "mariadb/map.jinja" import server with context %}
# Configuration and processes of the database server. Installs nothing: that is mariadb.packages.

mariadb_directories:
  file.directory:
  - names:
    - /etc/mysql
    - /var/lib/mysql
    - /run/mysqld
  - user: mysql
  - group: mysql
  - mode: 750

mariadb_config:
  file.managed:
  - name: /etc/mysql/server.cnf
  - source: salt://mariadb/files/server.cnf
  - template: jinja
  - user: mysql
  - group: mysql
  - mode: 644
  - context: {server: {{ server | json }}}
  - require:
    - file: mariadb_directories

# Run at every start: a restart gives the administrator the password of the environment, whatever it was before.
mariadb_administrator:
  file.managed:
  - name: /etc/mysql/administrator.sql
  - source: salt://mariadb/files/administrator.sql
  - template: jinja
  - user: mysql
  - group: mysql
  - mode: 600
  - context: {server: {{ server | json }}}
  - require:
    - file: mariadb_directories

# How the process `database` finds the server and logs in.
mariadb_client:
  file.managed:
  - name: /etc/mysql/administrator.json
  - source: salt://mariadb/files/administrator.json
  - template: jinja
  - user: mysql
  - group: mysql
  - mode: 600
  - context: {server: {{ server | json }}}
  - require:
    - file: mariadb_directories

{%- for process, file in (('server', 'server'), ('database', 'database'), ('retire', 'database'), ('administrator', 'database')) %}

mariadb_process_{{ process }}:
  file.managed:
  - name: /entrypoint.d/{{ process }}
  - source: salt://mariadb/files/{{ file }}
  - mode: 755
  - makedirs: true
{%- endfor %}

mariadb_check:
  file.managed:
  - name: /usr/local/bin/mariadb-ready
  - source: salt://mariadb/files/mariadb-ready
  - template: jinja
  - mode: 755
  - context: {server: {{ server | json }}}

mariadb_data:
  file.managed:
  - name: /usr/local/bin/mariadb-data
  - source: salt://mariadb/files/mariadb-data
  - mode: 755
