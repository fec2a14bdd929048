{%- from "mariadb/map.jinja" import server with context %}
# Configuration and process of the database server. Installs nothing: that is mariadb.packages.

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

# Run at every start, so that a changed password needs a restart and nothing else.
mariadb_accounts:
  file.managed:
  - name: /etc/mysql/accounts.sql
  - source: salt://mariadb/files/accounts.sql
  - template: jinja
  - user: mysql
  - group: mysql
  - mode: 600
  - context: {server: {{ server | json }}}
  - require:
    - file: mariadb_directories

mariadb_process_server:
  file.managed:
  - name: /entrypoint.d/server
  - source: salt://mariadb/files/server
  - template: jinja
  - mode: 755
  - makedirs: true
  - context: {server: {{ server | json }}}

mariadb_check:
  file.managed:
  - name: /usr/local/bin/mariadb-ready
  - source: salt://mariadb/files/mariadb-ready
  - template: jinja
  - mode: 755
  - context: {server: {{ server | json }}}
