#!/bin/sh
# What a container is: web | worker QUEUES | beat | prepare | any management command.
set -eu
role=${1:-web}
[ $# -gt 0 ] && shift
case "$role" in
  web)
    exec gunicorn hub.wsgi:application --bind 0.0.0.0:8000 --worker-class gthread \
      --workers "${WEB_PROCESSES:-2}" --threads 8 --timeout 120 --keep-alive 15 --graceful-timeout 8 \
      --worker-tmp-dir /dev/shm --no-control-socket --access-logfile - --access-logformat '%(m)s %(U)s %(s)s %(M)s ms'
    ;;
  worker)
    exec celery -A hub --quiet worker --queues "${1:-fast,heavy}" --concurrency "${WORKER_PROCESSES:-1}" \
      --prefetch-multiplier 1 --without-gossip --without-mingle --loglevel INFO
    ;;
  beat)
    exec celery -A hub --quiet beat --schedule /tmp/beat-schedule --pidfile= --loglevel WARNING
    ;;
  *)
    exec python manage.py "$role" "$@"
    ;;
esac
