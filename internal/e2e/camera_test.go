package e2e

import (
	"bufio"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"sync"
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
	size := s.width * s.height
	frame := make([]byte, size+size/2)
	for i := range sceneFrames {
		fmt.Fprintf(w, "FRAME\n")
		s.paint(frame[:size], frame[size:size+size/4], frame[size+size/4:], float64(i)/sceneFrames)
		w.Write(frame)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return path
}

// paint makes the picture at a time of the loop, 0 to 1. There are a million of points in a film, which the race detector need not
// watch.
//
//go:norace
func (s scene) paint(luma, cb, cr []byte, time float64) {
	sin, cos := math.Sincos(2 * math.Pi * s.hue)
	sunY, sunX := math.Sincos(2 * math.Pi * time)
	sunX, sunY = 0.5+0.34*sunX, 0.34+0.1*sunY
	for column := range s.width {
		x := (float64(column) + 0.5) / float64(s.width)
		far := 0.6 + 0.07*math.Sin(5*x+1) + 0.03*math.Sin(13*x)
		near := 0.78 + 0.08*math.Sin(4*x+4) + 0.02*math.Sin(17*x+2)
		for row := range s.height {
			y := (float64(row) + 0.5) / float64(s.height)
			var light, strength float64 // of the hue
			switch {
			case y > near:
				light, strength = 60+25*(1-y), 22
			case y > far:
				light, strength = 105+20*(1-y), 30
			default:
				const aspect = 16.0 / 9
				sun := math.Hypot((x-sunX)*aspect, y-sunY)
				light, strength = 205-50*y+35*math.Exp(-6*sun), 26-14*math.Exp(-5*sun)
				if sun < 0.14 {
					light, strength = 240, 4
				}
			}
			luma[row*s.width+column] = byte(light)
			if row%2 == 0 && column%2 == 0 {
				at := row/2*(s.width/2) + column/2
				cb[at], cr[at] = byte(128+strength*cos), byte(128+strength*sin)
			}
		}
	}
}

// everydayFilm is the film of everyday, made once for all browsers of a run. TestMain removes it.
var everydayFilm struct {
	sync.Once
	dir string
}

func filmOfEveryday(t *testing.T) string {
	t.Helper()
	everydayFilm.Do(func() {
		dir, err := os.MkdirTemp("", "parley-e2e-camera")
		if err != nil {
			t.Fatal(err)
		}
		everydayFilm.dir = dir
		everyday.film(t, filepath.Join(dir, "camera.y4m"))
	})
	return filepath.Join(everydayFilm.dir, "camera.y4m")
}
