"""Who the dashboards let in: everything by default is kept out, on HTTP and on the WebSocket."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import httpx
import pytest
from bokeh.util.token import get_token_payload
from playwright.sync_api import Page

from tests.browser.conftest import Site

Opener = Callable[..., Page]
UPGRADE = {
    "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}  # fmt: skip


@pytest.fixture
def client(site: Site) -> httpx.Client:
    """Return a client with an open session."""
    client = httpx.Client(base_url=site.base, trust_env=False, timeout=20.0)
    assert client.get(site.link).status_code == 302
    return client


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(site: Site) -> None:
    answer = httpx.get(site.link, trust_env=False)
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert answer.headers["location"] == "/overview"
    assert httpx.get(site.base + "/login?token=wrong", trust_env=False).status_code == 401


@pytest.mark.parametrize(
    "path", ["/", "/overview", "/decisions", "/assets/frame.js", "/static/js/bokeh.min.js", "/overview/ws", "/nothing"]
)
def test_nothing_is_served_without_a_session(site: Site, path: str) -> None:
    assert httpx.get(site.base + path, trust_env=False).status_code == 401


def test_another_host_or_origin_is_refused(site: Site, client: httpx.Client) -> None:
    port = site.base.rpartition(":")[2]
    assert client.get("/overview", headers={"Host": f"evil.example:{port}"}).status_code == 421, "DNS rebinding"
    assert client.get("/login?token=x", headers={"Host": "evil.example"}).status_code == 421
    assert client.get("/overview", headers={"Origin": "http://evil.example"}).status_code == 403
    assert client.get("/overview", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert client.put("/overview").status_code == 405
    assert client.post("/halt", data={}).status_code == 403, "no origin"
    assert client.post("/halt", data={"csrf": "x"}, headers={"Origin": site.base}).status_code == 403, "another session's form"
    assert not site.desk.desk.state[0]["desk"]["kill_n"]


def test_the_socket_needs_cookie_host_and_origin(site: Site, client: httpx.Client) -> None:
    token = re.findall(r'"token":"([^"]+)"', client.get("/overview").text)[0]
    protocols = {"Sec-WebSocket-Protocol": f"bokeh, {token}"}
    good = UPGRADE | protocols | {"Origin": site.base}
    alone = {"trust_env": False}
    assert httpx.get(site.base + "/overview/ws", headers=good, trust_env=False).status_code == 401, alone
    assert client.get("/overview/ws", headers=good | {"Origin": "http://evil.example"}).status_code == 403
    assert client.get("/overview/ws", headers=UPGRADE | protocols).status_code == 403, "no origin"
    assert client.get("/overview/ws", headers=good | {"Host": "evil.example"}).status_code == 421


def test_a_page_gives_away_no_secret(site: Site, client: httpx.Client) -> None:
    endpoint = json.loads((site.desk.home / "runtime" / "endpoint.json").read_text())
    answer = client.get("/overview")
    session = next(iter(client.cookies.jar)).value
    payload = str(get_token_payload(re.findall(r'"token":"([^"]+)"', answer.text)[0]))  # packed, and readable to any script
    for secret in (endpoint["launch_token"], site.link.rpartition("=")[2], str(session)):
        assert secret not in answer.text
        assert secret not in payload


def test_the_policy_of_a_page_allows_no_foreign_source(client: httpx.Client) -> None:
    answer = client.get("/overview")
    policy = answer.headers["content-security-policy"]
    nonce = re.findall(r"'nonce-([^']+)'", policy)[0]
    assert policy.startswith("default-src 'none'")
    assert "unsafe-eval" not in policy
    assert "'unsafe-inline'" not in policy.split("style-src")[0]
    assert set(re.findall(r'<script nonce="([^"]+)"', answer.text)) == {nonce}
    assert answer.text.count("<script") == answer.text.count(f'<script nonce="{nonce}"')
    assert nonce != re.findall(r"'nonce-([^']+)'", client.get("/overview").headers["content-security-policy"])[0]
    assert answer.headers["referrer-policy"] == "no-referrer"


def test_a_large_body_is_refused(site: Site, client: httpx.Client) -> None:
    form = {"Origin": site.base, "Content-Type": "application/x-www-form-urlencoded"}
    try:
        status = client.post("/halt", content=b"x" * 200_000, headers=form).status_code
    except httpx.HTTPError:
        status = 0  # the server hung up before it had read it
    assert status in (0, 400, 413)
