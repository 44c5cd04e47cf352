"""A mail server for tests: receives e-mails on PORT and writes each as JSON into DIRECTORY."""

import asyncio
import email
import email.policy
import json
import pathlib
import sys

from aiosmtpd.controller import Controller


class Mailbox:
    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(exist_ok=True)
        self.number = 0

    async def handle_DATA(self, server, session, envelope):
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        for to in envelope.rcpt_tos:
            self.number += 1
            part = self.directory / f"{self.number}.part"
            part.write_text(
                json.dumps(
                    {
                        "number": self.number,
                        "to": to,
                        "subject": message["subject"],
                        "text": message.get_body(("plain",)).get_content(),
                        "html": message.get_body(("html",)).get_content(),
                    }
                )
            )
            part.rename(part.with_suffix(".json"))
        return "250 OK"


port, directory = int(sys.argv[1]), sys.argv[2]
controller = Controller(Mailbox(directory), hostname="127.0.0.1", port=port)
controller.start()
asyncio.new_event_loop().run_forever()
