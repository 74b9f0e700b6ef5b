#!/bin/sh
# The same with curl; -N prints each event as it comes.
curl -sN "${OPENAI_BASE_URL:-http://127.0.0.1:8000/v1}/chat/completions" \
  -H "Authorization: Bearer ${OPENAI_API_KEY:-not-needed-without-keys}" \
  -H "Content-Type: application/json" \
  -d '{
    "model": "'"${MODEL:-smollm2-135m}"'",
    "messages": [{"role": "user", "content": "Once upon a time"}],
    "max_tokens": 40,
    "stream": true
  }'
