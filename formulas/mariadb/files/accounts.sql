{#- One statement a line: the server reads nothing else from an init file. -#}
{%- macro text(value) %}'{{ value | replace('\\', '\\\\') | replace("'", "''") | replace('$', '$sql:') }}'{% endmacro -%}
{%- macro name(value) %}`{{ value | replace('`', '``') }}`{% endmacro -%}
{%- for database, options in server.database | dictsort %}
CREATE DATABASE IF NOT EXISTS {{ name(database) }} CHARACTER SET {{ options.encoding | default('utf8mb3') }};
{%- for user in options.users | default([]) %}
{%- set account = text(user.name) ~ '@' ~ text(user.host | default('%')) %}
CREATE USER IF NOT EXISTS {{ account }} IDENTIFIED BY {{ text(user.password) }};
ALTER USER {{ account }} IDENTIFIED BY {{ text(user.password) }};
GRANT {{ user.rights | default('all') | upper }} ON {{ name(database) }}.* TO {{ account }};
{%- endfor %}
{%- endfor %}
