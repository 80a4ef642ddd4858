"""A peer of aiortc: descriptions come and go as lines of JSON, with all candidates; so does what was received."""
import asyncio
import json
import sys

from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack, VideoStreamTrack


def say(message):
    print(json.dumps(message), flush=True)


async def hear():
    line = await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    return json.loads(line) if line else None


async def consume(track):
    for n in range(1, 1 << 30):
        frame = await track.recv()
        if n == 30:
            say({"kind": track.kind, "frames": n, "width": getattr(frame, "width", 0), "height": getattr(frame, "height", 0)})


async def main(offers):
    pc = RTCPeerConnection()
    tasks = []
    pc.on("track", lambda track: tasks.append(asyncio.ensure_future(consume(track))))
    pc.addTrack(VideoStreamTrack())
    pc.addTrack(AudioStreamTrack())
    if offers:
        await pc.setLocalDescription(await pc.createOffer())
        say({"type": pc.localDescription.type, "sdp": pc.localDescription.sdp})
    await pc.setRemoteDescription(RTCSessionDescription(**await hear()))
    if not offers:
        await pc.setLocalDescription(await pc.createAnswer())
        say({"type": pc.localDescription.type, "sdp": pc.localDescription.sdp})
    await hear()  # the end
    for task in tasks:
        task.cancel()
    await pc.close()


asyncio.run(main(sys.argv[1] == "offer"))
