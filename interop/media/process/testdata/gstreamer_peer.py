"""A peer of GStreamer's webrtcbin: descriptions come and go as lines of JSON, with all candidates; so does what was received."""
import json
import sys
import threading

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

PIPELINE = """
webrtcbin name=peer bundle-policy=max-bundle
videotestsrc is-live=true ! video/x-raw,width=320,height=240,framerate=25/1 ! vp8enc deadline=1 keyframe-max-dist=25
  ! rtpvp8pay picture-id-mode=15-bit ! application/x-rtp,media=video,encoding-name=VP8,payload=96 ! queue ! peer.
audiotestsrc is-live=true ! audioconvert ! audioresample ! opusenc ! rtpopuspay
  ! application/x-rtp,media=audio,encoding-name=OPUS,payload=111 ! queue ! peer.
"""
RECEIVERS = {
    "VP8": "queue ! rtpvp8depay ! vp8dec ! fakesink name=sink signal-handoffs=true sync=false",
    "OPUS": "queue ! rtpopusdepay ! opusdec ! fakesink name=sink signal-handoffs=true sync=false",
}

Gst.init(None)
offers = sys.argv[1] == "offer"
pipeline = Gst.parse_launch(PIPELINE)
peer = pipeline.get_by_name("peer")
loop = GLib.MainLoop()


def say(message):
    print(json.dumps(message), flush=True)


def on_pad(_, pad):
    if pad.direction != Gst.PadDirection.SRC:
        return
    caps = pad.get_current_caps().get_structure(0)
    receiver = Gst.parse_bin_from_description(RECEIVERS[caps.get_string("encoding-name")], True)
    kind, count = caps.get_string("media"), 0

    def on_frame(_, __, sink):
        nonlocal count
        count += 1
        if count == 30:
            size = sink.get_current_caps().get_structure(0)
            say({"kind": kind, "frames": count, "width": size.get_int("width").value if kind == "video" else 0,
                 "height": size.get_int("height").value if kind == "video" else 0})

    receiver.get_by_name("sink").connect("handoff", on_frame)
    pipeline.add(receiver)
    receiver.sync_state_with_parent()
    pad.link(receiver.get_static_pad("sink"))


def describe(kind):
    """Makes a description, and says it when all candidates are there."""
    def made(promise, *_):
        reply = promise.get_reply()  # what is got from it lives no longer
        if reply.has_field("error"):
            raise RuntimeError(reply.get_value("error").message)
        description = reply.get_value(kind)
        peer.emit("set-local-description", description, Gst.Promise.new())
    peer.emit("create-" + kind, None, Gst.Promise.new_with_change_func(made))


def on_gathering(*_):
    if peer.get_property("ice-gathering-state") == GstWebRTC.WebRTCICEGatheringState.COMPLETE:
        local = peer.get_property("local-description")
        say({"type": local.type.value_nick, "sdp": local.sdp.as_text()})


def set_remote(kind, text):
    _, sdp = GstSdp.SDPMessage.new_from_text(text)
    kind = GstWebRTC.WebRTCSDPType.OFFER if kind == "offer" else GstWebRTC.WebRTCSDPType.ANSWER
    description = GstWebRTC.WebRTCSessionDescription.new(kind, sdp)
    promise = Gst.Promise.new()
    peer.emit("set-remote-description", description, promise)
    promise.wait()
    reply = promise.get_reply()
    if reply and reply.has_field("error"):
        raise RuntimeError(reply.get_value("error").message)


def hear():
    for line in sys.stdin:
        message = json.loads(line)
        set_remote(message["type"], message["sdp"])
        if message["type"] == "offer":
            describe("answer")
    loop.quit()


peer.connect("pad-added", on_pad)
peer.connect("notify::ice-gathering-state", on_gathering)
if offers:
    peer.connect("on-negotiation-needed", lambda _: describe("offer"))
pipeline.set_state(Gst.State.PLAYING)
threading.Thread(target=hear, daemon=True).start()
loop.run()
pipeline.set_state(Gst.State.NULL)
