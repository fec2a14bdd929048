{#- One statement a line: the server reads nothing else from an init file. -#}
{%- macro text(value) %}'{{ value | replace('\\', '\\\\') | replace("'", "''") | replace('$', '$sql:') }}'{% endmacro -%}
{%- set account = text(server.admin.user) ~ '@' ~ text('%') %}
CREATE USER IF NOT EXISTS {{ account }} IDENTIFIED BY {{ text(server.admin.password) }};
ALTER USER {{ account }} IDENTIFIED BY {{ text(server.admin.password) }};
GRANT ALL PRIVILEGES ON *.* TO {{ account }} WITH GRANT OPTION;
