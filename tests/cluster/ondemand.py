"""The app of Open OnDemand, rendered by Ruby, and the job that Open OnDemand makes."""

from __future__ import annotations

import json
import re
from typing import Any

import yaml

from tests.conftest import ROOT

APP = ROOT / "recipes/site/ondemand"

#: What Open OnDemand does with an app's files: the form's values are methods.
RENDER = """\
require "erb"
require "json"
given = JSON.parse(ARGV[0])
context = Struct.new(*given["context"].keys.map(&:to_sym)).new(*given["context"].values)
class Struct; def get_binding(context) = binding; end
puts JSON.generate(given["files"].transform_values { |text|
  ERB.new(text, trim_mode: "-").result(context.get_binding(context))
})
"""

#: What Open OnDemand's template "basic" does, in its order; its helpers, and the files
#: of the app between them.
FRAME = """\
#!/bin/bash
export host port
create_yml () {
    (
        umask 077
        echo -e "host: $host\\nport: $port\\npassword: $password" >connection.yml
    )
}
clean_up () {
    [[ ${SCRIPT_PID} ]] && pkill -P ${SCRIPT_PID} || :
    exit ${1:-0}
}
find_port () {
    python3 -c 'import socket; s = socket.socket(); s.bind(("", 0))
print(s.getsockname()[1])'
}
create_passwd () (
    tr -cd 'a-zA-Z0-9' </dev/urandom 2>/dev/null | head -c${1:-8}
)
host=$(hostname)
source before.sh
./script.sh &
SCRIPT_PID=$!
source after.sh
create_yml
wait ${SCRIPT_PID} || clean_up 1
clean_up
"""


def form() -> dict[str, Any]:
    """Return the form's own values."""
    found = yaml.safe_load((APP / "form.yml").read_text())["attributes"]
    return {
        name: value["value"] if isinstance(value, dict) else value
        for name, value in found.items()
    }


def rendered(engine: Any, **context: Any) -> dict[str, str]:
    """Return the app's files as Open OnDemand renders them, by name without .erb."""
    from containers.tool_image import ensure_tool_image  # noqa: PLC0415  the SDK

    ruby = ensure_tool_image(engine, "dask-runner-ruby", ROOT / "containers/ruby")
    files = {
        str(path.relative_to(APP)): path.read_text()
        for path in APP.rglob("*.erb")
        # Other names are its own: host, port, password.
        if ("view" in path.name) == ("password" in context)
    }
    given = json.dumps({"context": context, "files": files})
    said = engine.containers.run(
        ruby, ["ruby", "-e", RENDER, given], remove=True, network_mode="none"
    )
    made = json.loads(said)
    return {re.sub(r"^template/|\.erb$", "", name): text for name, text in made.items()}


#: A browser's way in, by what the view has: the page's own word, then the form.
LOG_IN = """\
import http.cookiejar, json, re, sys, urllib.error, urllib.parse, urllib.request as web
base, password, name = sys.argv[1:]
jar = http.cookiejar.CookieJar()
visit = web.build_opener(web.HTTPCookieProcessor(jar)).open

def status(*words):
    try:
        with visit(*words, timeout=60) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code

def log_in(word):
    page = visit(base + "/login", timeout=60).read().decode()
    xsrf = re.search(r'name="_xsrf" value="([^"]+)"', page)[1]
    form = urllib.parse.urlencode({"password": word, "_xsrf": xsrf}).encode()
    lab = urllib.parse.urlsplit(base).path + "/lab"
    return status(f"{base}/login?next={lab}", form)

found = {"nobody": status(base + "/api/contents"), "wrong": log_in("guessed")}
found["own"] = log_in(password)
found["contents"] = status(base + "/api/contents")
found["dashboard"] = status(f"{base}/proxy/dask-runner/{name}/status")
xsrf = {each.name: each.value for each in jar}["_xsrf"]
found["shutdown"] = status(web.Request(
    base + "/api/shutdown", data=b"", headers={"X-XSRFToken": xsrf}))
print(json.dumps(found))
"""
