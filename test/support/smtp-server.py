"""A mail server for tests: aiosmtpd, with TLS and login. Takes its settings as JSON in argv[1], and prints one JSON object a line."""
import asyncio, json, os, ssl, sys, threading
from email import message_from_bytes, policy
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

settings = json.loads(sys.argv[1])
refusals = list(settings.get("refusals", []))
is_implicit = settings.get("tls") == "implicit"


def end_with_parent():
    sys.stdin.read()
    os._exit(0)


threading.Thread(target=end_with_parent, daemon=True).start()


def say(**event):
    print(json.dumps(event), flush=True)


def body(message, kind):
    part = message.get_body((kind,))
    return None if part is None else part.get_content()


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        refused = settings.get("recipients", {}).get(address)
        if refused is not None:
            return refused
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        if refusals:
            say(event="refused", answer=refusals[0])
            return refusals.pop(0)
        message = message_from_bytes(envelope.content, policy=policy.default)
        say(
            event="mail",
            mail_from=envelope.mail_from,
            recipients=envelope.rcpt_tos,
            tls=is_implicit or session.ssl is not None,
            login=getattr(session.auth_data, "login", b"").decode() if session.authenticated else None,
            headers=[[name, str(value)] for name, value in message.items()],
            text=body(message, "plain"),
            html=body(message, "html"),
        )
        return "250 OK"


def authenticate(server, session, envelope, mechanism, data):
    is_right = isinstance(data, LoginPassword) and [data.login.decode(), data.password.decode()] == settings["login"]
    if not is_right:
        say(event="login refused")
    return AuthResult(success=is_right, handled=is_right, auth_data=data)


async def main():
    context = None
    if "certificate" in settings:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(settings["certificate"], settings["key"])
    options = {"hostname": "mail.test", "tls_context": None if is_implicit else context}
    if settings.get("tls") == "starttls":
        options["require_starttls"] = True
    if "login" in settings:
        options.update(authenticator=authenticate, auth_required=True, auth_require_tls=context is not None and not is_implicit)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(Handler(), loop=loop, **options),
        settings.get("host", "127.0.0.1"),
        settings.get("port", 0),
        ssl=context if is_implicit else None,
    )
    say(event="listening", port=server.sockets[0].getsockname()[1])
    await server.serve_forever()


asyncio.run(main())
