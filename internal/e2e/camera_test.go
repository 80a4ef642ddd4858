package e2e

import (
	"bufio"
	"fmt"
	"math"
	"os"
	"testing"
)

// A scene is what a made-up camera films: hills under a sky across which a sun goes, in shades of one hue. It is small,
// so that four in a call leave two processors something to do.
type scene struct {
	width, height int
	hue           float64 // in turns
}

var everyday = scene{width: 320, height: 180, hue: -0.06}

const sceneRate, sceneFrames = 15, 60

// film writes the scene as YUV4MPEG2, which Chromium plays over and over as its camera.
func (s scene) film(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := bufio.NewWriter(f)
	fmt.Fprintf(w, "YUV4MPEG2 W%d H%d F%d:1 Ip A1:1 C420jpeg\n", s.width, s.height, sceneRate)
	for i := range sceneFrames {
		fmt.Fprintf(w, "FRAME\n")
		at := float64(i) / sceneFrames
		var planes [3][]byte
		for y := range s.height {
			for x := range s.width {
				luma, strength := s.at((float64(x)+0.5)/float64(s.width), (float64(y)+0.5)/float64(s.height), at)
				planes[0] = append(planes[0], byte(luma))
				if x%2 == 0 && y%2 == 0 {
					sin, cos := math.Sincos(2 * math.Pi * s.hue)
					planes[1] = append(planes[1], byte(128+strength*cos))
					planes[2] = append(planes[2], byte(128+strength*sin))
				}
			}
		}
		for _, p := range planes {
			w.Write(p)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return path
}

// at is the light and the strength of the hue at a point, all in 0 to 1, at a time of the loop.
func (s scene) at(x, y, time float64) (luma, strength float64) {
	const aspect = 16.0 / 9
	sx, sy := 0.5+0.34*math.Cos(2*math.Pi*time), 0.34+0.1*math.Sin(2*math.Pi*time)
	sun := math.Hypot((x-sx)*aspect, y-sy)
	far := 0.6 + 0.07*math.Sin(5*x+1) + 0.03*math.Sin(13*x)
	near := 0.78 + 0.08*math.Sin(4*x+4) + 0.02*math.Sin(17*x+2)
	switch {
	case y > near:
		return 60 + 25*(1-y), 22
	case y > far:
		return 105 + 20*(1-y), 30
	case sun < 0.14:
		return 240, 4
	}
	return 205 - 50*y + 35*math.Exp(-6*sun), 26 - 14*math.Exp(-5*sun)
}
