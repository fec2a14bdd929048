{%- if salt['pillar.get']('bird:server:enabled') %}
include:
- bird.server
- bird.settled
{%- elif salt['pillar.get']('bird:server') %}
include:
- bird.stopped
{%- else %}
include: []
{%- endif %}
