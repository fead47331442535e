"""One stream by a Python library, come back to with its last event id: stream.py LIBRARY URL.

Prints `asked` before each request, `event` at the first event after it, `connected` for each confirmation, and the text of
each message that has one."""

import json
import sys
import time

library, url = sys.argv[1:]
if library == "httpx-sse":
    import httpx
    from httpx_sse import connect_sse

    # Loads certificates, which takes its time.
    client = httpx.Client(timeout=20)
else:
    import requests
    import sseclient

HEADERS = {"Accept": "text/event-stream"}


def say(text):
    print(text, flush=True)


def by_requests(headers):
    with requests.get(url, headers=headers, stream=True, timeout=20) as response:
        response.raise_for_status()
        fields = {}
        for line in response.iter_lines(decode_unicode=True):
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif fields:
                yield fields.get("event", "message"), fields.get("data", ""), fields.get("id")
                fields = {}


def by_sseclient(headers):
    with requests.get(url, headers=headers, stream=True, timeout=20) as response:
        response.raise_for_status()
        for event in sseclient.SSEClient(response).events():
            yield event.event, event.data, event.id


def by_httpx(headers):
    with connect_sse(client, "GET", url, headers=headers) as source:
        source.response.raise_for_status()
        for event in source.iter_sse():
            yield event.event, event.data, event.id


def by_polls(headers):
    target = url + (f"&after={headers['Last-Event-ID']}" if "Last-Event-ID" in headers else "")
    while True:
        answer = requests.get(target, timeout=20)
        answer.raise_for_status()
        reply = answer.json()
        say("event")
        for message in reply["messages"]:
            yield "message", json.dumps(message), None
        yield "reply", "", reply["last_event_id"]
        target = f"{url}&after={reply['last_event_id']}"


roads = {"requests": by_requests, "sseclient-py": by_sseclient, "httpx-sse": by_httpx, "polls": by_polls}
last = None
while True:
    say("asked")
    first = True
    try:
        for kind, data, event_id in roads[library](HEADERS | ({"Last-Event-ID": last} if last else {})):
            if first:
                say("event")
                first = False
            message = json.loads(data) if kind == "message" and data else {}
            if message.get("type") == "connected":
                say("connected")
            if message.get("type") == "received" and "text" in message["message"]:
                say(message["message"]["text"])
            last = event_id or last
    except Exception as error:
        print(f"{library}: {error!r}"[:300], file=sys.stderr)
    time.sleep(0.5)
